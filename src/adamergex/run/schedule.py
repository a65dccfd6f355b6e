"""What can run now, what waits: one loop for every executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from adamergex.errors import AdamergexError
from adamergex.run.store import Store
from adamergex.step import Step

__all__ = ["Event", "carried_out", "outstanding"]


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
    wanted: Iterable[Step], store: Store, on_event: Callable[[Event], None]
) -> list[Step]:
    """Those of `wanted` that are to be done, in their order."""
    waiting: list[Step] = []
    for step in wanted:
        damage = store.damage(step) if store.finished(step) else None
        if damage is not None:
            on_event(Event(step, "damaged", damage))
            store.discard(step)
        if store.finished(step):
            on_event(Event(step, "reused"))
        else:
            waiting.append(step)
    return waiting


def carried_out(
    waiting: Iterable[Step],
    store: Store,
    slots: int,
    submit: Callable[[Step], Future[None]],
    on_event: Callable[[Event], None],
    lost: type[Exception],
) -> None:
    """Does all steps, each after those it needs, as many at once as there are slots.

    Args:
        waiting: The steps that are to be done.
        store: Where the others are, and where what is submitted goes.
        slots: How many steps at once.
        submit: Has one step done; its future ends with it.
        on_event: Called in this thread, in order.
        lost: What a future raises whose process, or machine, is gone.

    Raises:
        AdamergexError: What a step raised, or that it was lost.
    """
    left, running = list(waiting), dict[Future[None], Step]()
    while left or running:
        ready = [s for s in left if all(store.finished(needed) for needed in s.inputs.values())]
        for step in ready[: slots - len(running)]:
            left.remove(step)
            running[submit(step)] = step
            on_event(Event(step, "started"))
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            step = running.pop(future)
            try:
                future.result()
            except AdamergexError:
                raise
            except lost:
                # One of them died, and all of their results are lost.
                labels = ", ".join(s.label for s in (step, *running.values()))
                problem = f"a worker process died at: {labels} (out of memory?)"
                raise AdamergexError(problem) from None
            except Exception as error:
                raise AdamergexError(f"{step.label}: {type(error).__name__}: {error}") from error
            on_event(Event(step, "finished"))
