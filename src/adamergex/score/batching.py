"""What is run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["BATCH_TOKENS", "batches"]

BATCH_TOKENS = 1024

_LEAST = 128
"""A smaller product takes about as long."""

_Row = TypeVar("_Row")


def batches(
    rows: Sequence[_Row],
    costs: Sequence[int],
    kinds: Sequence[object] = (),
    *,
    workers: int = 1,
) -> list[list[_Row]]:
    """Rows in groups that cost about BATCH_TOKENS each, in order; where given, of one kind each.

    Args:
        rows: The rows.
        costs: For each how many tokens it counts for.
        kinds: For each what it may not be mixed with others of.
        workers: How many take groups as they go. The last groups are small, for all to end at once.
    """
    groups: list[list[_Row]] = []
    size, most, left, last = 0, 0, sum(costs), object()
    for row, cost, kind in zip(rows, costs, kinds or [None] * len(rows), strict=True):
        if size + cost > most or kind != last:
            groups.append([])
            size = 0
            shared = max(_LEAST, left // (2 * workers)) if workers > 1 else BATCH_TOKENS
            most = min(BATCH_TOKENS, shared)
        groups[-1].append(row)
        size, left, last = size + cost, left - cost, kind
    return groups
