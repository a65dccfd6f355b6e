"""Steps that train nothing: they are seen, held, and fail when they are told to."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from adamergex.errors import InputError
from adamergex.run import worker
from adamergex.run.functions import FUNCTIONS
from adamergex.run.log import foreseen
from adamergex.run.store import Store
from adamergex.step import Step

SECONDS = 60
"""How long something is held that nobody ends."""
TRAIL, HELD = "TOYS_TRAIL", "TOYS_HELD"
"""Environment variables of toy_command: where it leaves its trail, and what it holds."""


class OddError(Exception):
    """As some libraries have them: no other process can make it anew from its arguments."""

    def __init__(self, *, response: int) -> None:
        super().__init__(f"response {response}")


def toy(trail: Path, name: str, does: str = "", after: str = "", inputs: Any = None) -> Step:
    """A step that begins, and when something is on the trail does nothing, or what it is told to.

    Args:
        trail: The folder in which it leaves its name.
        name: Its name.
        does: `hold`, `refuse` or `fail`.
        after: What must be on the trail.
        inputs: See Step.
    """
    config = {"trail": str(trail), "name": name, "does": does, "after": after}
    return Step("toy", config, inputs or {}, label=name)


def performed(step: Step, folder: Path) -> None:
    """Takes the place of run.local's: the process knows toys."""
    FUNCTIONS["toy"] = _toy  # type: ignore[index] - a table that only tests add to
    worker.performed(step, folder)


def _toy(config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    trail = Path(config["trail"])
    leave(trail, config["name"])
    while config["after"] and not (trail / config["after"]).exists():
        time.sleep(0.01)
    if config["does"] == "hold":
        hold(trail)
    elif config["does"] == "refuse":
        raise InputError("toy", found=config["name"], needed="another")
    elif config["does"] == "fail":
        raise OddError(response=418)
    return {"devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "process": os.getpid()}


def leave(trail: Path, name: str) -> None:
    """Writes down that this process is at it."""
    (trail / f".{name}").write_text(str(os.getpid()))
    (trail / f".{name}").rename(trail / name)


def hold(trail: Path) -> None:
    """Does not end, and has a process of its own that does not."""
    with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({SECONDS})"]) as child:
        (trail / "grandchild.draft").write_text(str(child.pid))
        (trail / "grandchild.draft").rename(trail / "grandchild")
        time.sleep(SECONDS)
        child.kill()


def gone(trail: Path, name: str) -> bool:
    """Whether the process that left that there has ended."""
    try:
        process = psutil.Process(int((trail / name).read_text()))
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def held_performed(step: Step, folder: Path) -> None:
    """Takes its place in toy_command: no step does anything; one kind is held, or fails."""
    trail = Path(os.environ[TRAIL])
    with foreseen(step):
        held = os.environ[HELD]
        if held == f"failure {step.kind}":
            leave(trail, "failing")
            raise OddError(response=418)
        if held == step.kind:
            leave(trail, "held")
            hold(trail)
        Store(folder).fill(step, lambda out: {})


def stuck() -> None:
    """Waits in C, where no signal ends it and no other thread is kept from running."""
    mutex, library = ctypes.create_string_buffer(128), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
