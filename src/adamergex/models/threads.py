"""Processor cores shared out: on each a forward pass of its own, instead of one on all of them.

Products of a few hundred rows leave a second core idle for a tenth to a fifth of their time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

__all__ = ["at_once", "in_threads"]

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")

_MOST = 4
"""What is in a batch does not depend on how many threads there are: they change no more than how
sums are rounded."""


def at_once(model: Any) -> int:
    """How many batches a model may run at once, at most, each on a thread or several."""
    return _MOST if model.device.type == "cpu" else 1


def in_threads(call: Callable[[_Part], _Made], parts: Sequence[_Part], most: int) -> list[_Made]:
    """What `call` makes of each part, up to `most` at once, each with its share of torch's threads.

    Args:
        call: Safe to run in threads. It sees the caller's gradient mode.
        parts: Taken in order, by whichever thread is free. Those that are left when one fails are
            not begun.
        most: At 1 there is no thread but the caller's.
    """
    threads, graded = torch.get_num_threads(), torch.is_grad_enabled()
    workers = min(most, threads, len(parts))
    if workers < 2:
        return [call(part) for part in parts]

    def begin() -> None:
        torch.set_num_threads(threads // workers)
        torch.set_grad_enabled(graded)

    try:
        with ThreadPoolExecutor(workers, initializer=begin) as pool:
            return list(pool.map(call, parts))
    finally:
        torch.set_num_threads(threads)
