"""What is run at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["BATCH_TOKENS", "batches"]

BATCH_TOKENS = 1024

_LEAST = 128
"""A smaller product takes about as long."""

_BEST = BATCH_TOKENS // 2
"""A larger one, on one core, is no faster: what it multiplies leaves the core's cache."""

_Row = TypeVar("_Row")


def batches(
    rows: Sequence[_Row],
    costs: Sequence[int],
    kinds: Sequence[object] = (),
    *,
    workers: int = 1,
) -> list[list[_Row]]:
    """Rows in groups that cost up to BATCH_TOKENS each, in order; where given, of one kind each.

    Args:
        rows: The rows.
        costs: For each how many tokens it counts for.
        kinds: For each what it may not be mixed with others of.
        workers: How many take groups as they go: each finds about as much to do as the others.
    """
    share = _share(sum(costs), workers) if workers > 1 else math.inf
    groups: list[list[_Row]] = []
    size, done, goal, last = 0, 0, 0.0, object()
    for row, cost, kind in zip(rows, costs, kinds or [None] * len(rows), strict=True):
        full = done + cost / 2 > goal
        if full or size + cost > BATCH_TOKENS or kind != last:
            groups.append([])
            size, goal = 0, (goal if full else done) + share
        groups[-1].append(row)
        size, done, last = size + cost, done + cost, kind
    return groups


def _share(total: int, workers: int) -> float:
    """What a group costs, for as many groups for each worker as for every other."""
    rounds = max(1, math.ceil(total / (workers * _BEST)))
    return max(_LEAST, total / (workers * rounds))
