"""Executing steps on this machine, several at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from adamergex.run.schedule import Event, carried_out, outstanding
from adamergex.run.sizing import Workers, weights_of, workers_for
from adamergex.run.store import Store
from adamergex.run.worker import performed, start_worker
from adamergex.step import Step, in_order

__all__ = ["execute"]


def execute(
    last: Step,
    store: Store,
    *,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Does every step that `last` needs and that is not in the store; returns the folder of `last`.

    Small models train faster as several processes of one thread each than as one process of several
    threads: no thread waits for another at every small operation.

    What ends it, an error of a step or an interrupt, ends all processes that it started. What is
    finished is kept, and trainings go on from their last checkpoints the next time.

    Args:
        last: The step that is wanted.
        store: Where finished steps are and go.
        workers: How many steps at once. By default one for each GPU; without any, one for each
            core, at most 4, and as many as there is memory for. A training that several processes
            share counts as so many.
        on_event: Called in this process, in order.
        say: Called with what people may want to know of how it is done, a line at a time.

    Raises:
        AdamergexError: What a step raised, or that its process died.
    """
    with store.in_use():
        waiting = outstanding(in_order([last]), store, on_event)
        if waiting:
            chosen = workers_for(waiting, workers, weights_of(last, store))
            if chosen.why:
                say(chosen.why)
            _run(waiting, store, chosen, on_event)
    return store.path(last)


def _run(
    waiting: list[Step], store: Store, workers: Workers, on_event: Callable[[Event], None]
) -> None:
    _start_tracker()
    context = multiprocessing.get_context("spawn")
    devices = None
    if workers.devices:
        devices = context.SimpleQueue()
        for own in workers.devices:
            devices.put(own)
    pool = ProcessPoolExecutor(workers.count, context, start_worker, (workers.threads, devices))

    def submit(step: Step) -> Future[None]:
        # A worker that is started here inherits what is blocked. An interrupt from the terminal
        # reaches it as well, and it would complain of it before it is set up.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.submit(performed, step, store.folder)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        carried_out(waiting, workers.count, submit, on_event, lost=BrokenProcessPool)
    except BaseException:
        _end((pool._processes or {}).values())
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_tracker() -> None:
    """Starts the process of Python's that clears away what killed ones leave, without a word."""
    name, before = "PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS")
    os.environ[name] = ",".join(filter(None, (before, "ignore:resource_tracker")))
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _end(processes: Iterable[Any]) -> None:
    """Kills processes and what they have started: nothing that is whole can be harmed by it.

    Raises nothing for one that is gone.
    """
    import psutil

    for process in list(processes):
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for other in started:
                with suppress(psutil.NoSuchProcess):
                    other.kill()
