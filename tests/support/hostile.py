"""Hostile files: a safetensors file with any header, and a process that is watched."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import traceback
from collections.abc import Generator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WEIGHTS = "adapter_model.safetensors"

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["adamergex.checkpoint", "adamergex.recipe", "tests.tasks.test_hostile"]
)


def write_header(folder: Path, header: Mapping[str, Any] | bytes, data: bytes = b"") -> Path:
    """Puts a safetensors file with this header, true or not, into an adapter's folder."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def watched(code: str, *arguments: object, seconds: int = 120) -> tuple[str, int]:
    """What Python code prints in a process of its own, and the most memory that it held, in MiB.

    The process is a fork of one that has imported what such code needs: seconds less for each.

    Args:
        code: It finds its arguments in `sys.argv[1:]`.
        arguments: As text.
        seconds: Of the processor, which the machine's other work does not use up.
    """
    here, there = _FORKS.Pipe(duplex=False)
    child = _FORKS.Process(target=_run, args=(there, code, [str(x) for x in arguments], seconds))
    with _on_path():  # the first one starts the server
        child.start()
    there.close()
    try:
        said, failure, peak = here.recv()
    except EOFError:
        child.join()
        raise AssertionError(f"the process ended with {child.exitcode}") from None
    child.join()
    assert failure is None, failure
    return said, peak


def _run(results: Connection, code: str, arguments: list[str], seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    sys.argv[1:] = arguments
    said, failure = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            failure = traceback.format_exc()
    # Not resource.getrusage: that begins with what the process that started it held.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    results.send((said.getvalue().rstrip("\n"), failure, peak // 1024))


@contextlib.contextmanager
def _on_path() -> Generator[None]:
    """Has a process that is started within find this package: Python 3.11's server does not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
