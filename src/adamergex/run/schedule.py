"""What can run now, what waits: one loop for every executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adamergex.errors import AdamergexError
from adamergex.run.log import foreseen
from adamergex.step import Step

__all__ = ["Event", "Steps", "carried_out", "outstanding"]


class Steps(Protocol):
    """Where finished steps are: a Store, or a SharedStore."""

    def finished(self, step: Step) -> bool:
        """Whether the step was done, here or in an earlier run."""
        ...

    def record(self, step: Step) -> dict[str, Any]:
        """What a finished step said of itself."""
        ...

    def path(self, step: Step) -> Path:
        """The folder of a finished step on this machine."""
        ...

    def damage(self, step: Step) -> str | None:
        """What is not as it was written in a finished step's folder; None where all is."""
        ...

    def discard(self, step: Step) -> None:
        """Forgets a step: it is not finished any more."""
        ...

    def in_use(self) -> AbstractContextManager[None]:
        """Keeps others from clearing it meanwhile."""
        ...


@dataclass(frozen=True)
class Event:
    """Something that happened to a step.

    Attributes:
        step: Which.
        what: `reused`, `started`, `finished`; or `damaged`: it was finished once, is not any more
            what was written, and is done again.
        detail: For `damaged`, what was found.
    """

    step: Step
    what: str
    detail: str = ""


def outstanding(
    wanted: Iterable[Step], store: Steps, on_event: Callable[[Event], None]
) -> list[Step]:
    """Those of `wanted` that are to be done, in their order."""
    waiting: list[Step] = []
    for step in wanted:
        if not store.finished(step):
            waiting.append(step)
        elif (damage := store.damage(step)) is None:
            on_event(Event(step, "reused"))
        else:
            on_event(Event(step, "damaged", damage))
            store.discard(step)
            waiting.append(step)
    return waiting


def carried_out(
    waiting: Iterable[Step],
    slots: int,
    submit: Callable[[Step], Future[None]],
    on_event: Callable[[Event], None],
    lost: type[Exception] | tuple[()] = (),
) -> None:
    """Does all steps, each after those it needs, as many at once as there are slots.

    The first error is raised at once: what runs meanwhile is the caller's to end.

    Args:
        waiting: The steps that are to be done; all others are finished.
        slots: How many steps at once.
        submit: Has one step done; its future ends with it.
        on_event: Called in this thread, in order.
        lost: What all futures raise when a process is gone.

    Raises:
        AdamergexError: What a step raised, or that it was lost.
    """
    left, running = list(waiting), dict[Future[None], Step]()
    while left or running:
        unfinished = {*left, *running.values()}
        ready = [s for s in left if unfinished.isdisjoint(s.inputs.values())]
        for step in ready[: slots - len(running)]:
            left.remove(step)
            running[submit(step)] = step
            on_event(Event(step, "started"))
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            step = running.pop(future)
            with foreseen(step):
                try:
                    future.result()
                except lost:
                    # One of them died, and all of their results are lost.
                    labels = ", ".join(s.label for s in (step, *running.values()))
                    problem = f"a worker process died at: {labels} (out of memory?)"
                    raise AdamergexError(problem) from None
            on_event(Event(step, "finished"))
