"""The rows of a batch in parts that go through the model one after the other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

__all__ = ["in_parts", "parted", "tokens_at_once"]

_Row = TypeVar("_Row")


def parted(
    rows: Sequence[_Row], cost: Callable[[Sequence[_Row]], int], most: int
) -> list[list[_Row]]:
    """Rows in as few parts as `most` allows, and those as even as they can be; long rows first.

    Args:
        rows: The rows.
        cost: How many tokens rows are that go through the model at once.
        most: The most tokens of a part. A row that has more is a part alone.
    """
    falling = sorted(rows, key=lambda row: cost([row]), reverse=True)
    fewest = len(_filled(falling, cost, most))
    even = bisect_left(
        range(most), True, key=lambda limit: len(_filled(falling, cost, limit)) <= fewest
    )
    return _filled(falling, cost, even)


def _filled(
    rows: Sequence[_Row], cost: Callable[[Sequence[_Row]], int], most: int
) -> list[list[_Row]]:
    parts: list[list[_Row]] = []
    for row in rows:
        if parts and cost([*parts[-1], row]) <= most:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def tokens_at_once(lengths: Sequence[int], *, packed: bool) -> int:
    """How many tokens rows are: one after the other, or each filled up to the longest."""
    return sum(lengths) if packed else len(lengths) * max(lengths)


def in_parts(
    collate: Callable[[Any], Any],
    cost: Callable[[Sequence[Any]], int],
    most: int,
    index: int,
    count: int,
) -> Callable[[Any], list[Any]]:
    """A collator of one batch's rows into several batches, of which each process has its share.

    Args:
        collate: The collator of each part.
        cost: See `parted`.
        most: See `parted`; of each process.
        index: Which of the processes this one is.
        count: How many there are. All have as many parts: they may wait for each other in each.
    """

    def collated(rows: Sequence[Any]) -> list[Any]:
        return [_share(collate, part, index, count) for part in parted(rows, cost, most * count)]

    return collated


def _share(collate: Callable[[Any], Any], rows: list[Any], index: int, count: int) -> Any:
    """Every `count`-th row; where there is none, one without labels."""
    own = rows[index::count]
    batch = collate(own or rows[:1])
    return batch if own else {**batch, "labels": torch.full_like(batch["labels"], -100)}
