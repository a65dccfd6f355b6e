"""Executing steps on this machine, several at once, each in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError
from adamergex.run.parallel import processes_of, record_of
from adamergex.run.schedule import Event, carried_out, outstanding
from adamergex.run.store import Store
from adamergex.step import Step, in_order

__all__ = ["execute", "performed", "set_up", "start_worker"]


def execute(
    last: Step,
    store: Store,
    *,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Path:
    """Does every step that `last` needs and that is not in the store; returns the folder of `last`.

    Small models train faster as several processes of one thread each than as one process of several
    threads: no thread waits for another at every small operation.

    Args:
        last: The step that is wanted.
        store: Where finished steps are and go.
        workers: How many steps at once. By default one for each core, at most 4, and one with a
            GPU; where several processes share a training, as many as there are cores for.
        on_event: Called in this process, in order.

    Raises:
        AdamergexError: What a step raised, or that its process died.
    """
    waiting = outstanding(in_order([last]), store, on_event)
    if waiting:
        most = max(map(processes_of, waiting))
        _run(waiting, store, workers or _default_workers(most), on_event)
    return store.path(last)


def _run(
    waiting: list[Step], store: Store, workers: int, on_event: Callable[[Event], None]
) -> None:
    threads = max(1, _cores() // workers)
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, start_worker, (threads,))
    try:
        carried_out(
            waiting,
            workers,
            lambda step: pool.submit(performed, step, store.folder),
            on_event,
            lost=BrokenProcessPool,
        )
    except KeyboardInterrupt:
        # The user wants the terminal back now, not what the others are at.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        # After an error, what runs already is finished and kept.
        pool.shutdown(cancel_futures=True)


def _default_workers(processes: int) -> int:
    if Path("/dev/nvidia0").exists():
        return 1
    return max(1, min(4, _cores() // processes))


def _cores() -> int:
    """The cores that this process may use, fewer than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_worker(threads: int) -> None:
    """Sets a new process up, and its end."""
    set_up(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def set_up(threads: int) -> None:
    """Sets a process that does steps up: its threads, nothing on the terminal but errors."""
    os.environ["TQDM_DISABLE"] = "1"
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


def performed(step: Step, folder: Path, revised: Callable[[Path], None] = lambda _: None) -> None:
    """Does one step, from and into the store in `folder`, in this process.

    Args:
        step: The step.
        folder: Where the steps are that it needs, and where it goes.
        revised: Called with what was made, before it is sealed.

    Raises:
        AdamergexError: An input that is not as it was written.
    """
    store = Store(folder)
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
        revised(out)
        return {**record, "seconds": time.perf_counter() - start, "peak_memory": _peak_memory()}

    store.fill(step, measured)


def _forget_peak() -> None:
    """Starts the count of the largest memory anew: a process does many steps (Linux only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory() -> int:
    """The largest resident memory of this process since then, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
