"""What a process needs to do steps: to be set up, to end in time, and one step done."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError
from adamergex.run.log import foreseen
from adamergex.run.parallel import record_of
from adamergex.run.provenance import origin
from adamergex.run.store import Store
from adamergex.step import Step

__all__ = ["performed", "set_up", "start_worker"]


def start_worker(threads: int, devices: Any = None) -> None:
    """Sets a new process up, and its end.

    Args:
        threads: How many it computes with.
        devices: A queue with a value of CUDA_VISIBLE_DEVICES for each of several workers; None
            where this one sees what its parent does.
    """
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    set_up(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def set_up(threads: int) -> None:
    """Sets a process that does steps up: its threads, nothing on the terminal but errors."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("accelerate", "datasets", "peft", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Spawned workers read these when torch loads its thread pools.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", UserWarning)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone: killed, nobody waits for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def performed(step: Step, folder: Path) -> None:
    """Does one step, from and into the store in `folder`, in this process.

    Args:
        step: The step.
        folder: Where the steps are that it needs, and where it goes.

    Raises:
        AdamergexError: An input that is not as it was written; what the step raised.
    """
    with foreseen(step):
        _perform(step, Store(folder))


def _perform(step: Step, store: Store) -> None:
    for needed in step.inputs.values():
        damage = store.damage(needed)
        if damage is not None:
            again = "run again, and it is made anew"
            raise AdamergexError(f"{store.path(needed)}: {damage} since it was made; {again}")
    folders = {role: store.path(needed) for role, needed in step.inputs.items()}
    inputs = {**folders, **step.files}

    def measured(out: Path) -> dict[str, Any]:
        start = time.perf_counter()
        _forget_peak()
        record = record_of(step, inputs, out)
        taken = {"seconds": time.perf_counter() - start, "peak_memory": _peak_memory()}
        return {**record, **taken, **origin(step)}

    store.fill(step, measured)


def _forget_peak() -> None:
    """Starts the count of the largest memory anew: a process does many steps (Linux only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory() -> int:
    """The largest resident memory of this process since then, in bytes.

    Of all that it holds: also the base model, which stays loaded from step to step.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
