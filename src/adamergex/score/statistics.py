"""How sure a score is, and a difference of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "holm",
    "interval_over",
    "mean",
    "ratio_interval",
    "standard_error",
    "standard_error_over",
]

Items: TypeAlias = Sequence[float] | NDArray[np.float64]
Runs: TypeAlias = Sequence[Items] | NDArray[np.float64]
"""Outcomes by seed and item: (seeds, items)."""

LEVEL = 0.05
"""Of all tests and intervals: these hold the truth in 95 of 100 experiments."""


@dataclass(frozen=True)
class Interval:
    """A mean, usually of differences, with its 95% interval.

    Attributes:
        mean: Over seeds and items, each group counting the same.
        low: The interval's lower end.
        high: Its upper end.
        p: Of a mean of 0, two-sided: the level at which the interval would just reach 0.
    """

    mean: float
    low: float
    high: float
    p: float


def mean(values: Items) -> float:
    """The mean over items."""
    return math.fsum(values) / len(values)


def standard_error(values: Items) -> float | None:
    """The standard error of the mean: the sample's standard deviation over sqrt(n).

    None for one item, which says nothing of others.
    """
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None


def standard_error_over(groups: Sequence[Items]) -> float | None:
    """The standard error of the mean of the groups' means over items, of these seeds.

    Groups of as many items are the same items, as `interval_over` says.
    """
    parts = [(weight, standard_error(runs[0])) for weight, runs in _strata([[g] for g in groups])]
    errors = [weight * error for weight, error in parts if error is not None]
    return math.hypot(*errors) if len(errors) == len(parts) else None


def interval_over(groups: Sequence[Runs]) -> Interval | None:
    """The mean of the groups' means, each group counting the same, for other seeds and other items.

    Seeds and items are crossed: outcome = mean + seed's effect + item's effect + rest. Of the three
    mean squares, M_seeds and M_items (of the means of each seed and of each item, over their
    numbers S and N) hold the rest once each, so that it is taken away from one of them:

        half width² = t²(S - 1) M_seeds + t²(N - 1) max(0, M_items - M_rest)

    t²(n): the square of Student's t at n degrees of freedom. Each part has its own t, after
    Graybill and Wang (1980), since one t with Satterthwaite's degrees of freedom covers 90 to 94%
    where seeds differ more than items and are 2 or 3. A bootstrap of so few seeds covers less still
    (it takes their spread as known). With one seed, the interval is of other items alone.

    Groups of as many items are taken to hold the same items in one order, as translations of a test
    set do: what makes an item hard in one language may do so in others. Items of groups of other
    sizes have nothing in common. Seeds are the same in all groups.

    Args:
        groups: Each group's outcomes, of shape (seeds, items); of a difference, each pair's own.

    Returns:
        None where a group has one item, which says nothing of others.
    """
    strata = _strata(groups)
    if any(runs.shape[1] < 2 for _, runs in strata):
        return None
    found, squared = _spread(strata)
    half = math.sqrt(squared(LEVEL))
    return Interval(found, found - half, found + half, _level(found**2, squared))


def ratio_interval(over: Sequence[Runs], under: Sequence[Runs]) -> tuple[float, float] | None:
    """The 95% interval of a ratio of two means over the same seeds and items.

    Fieller's (1954): all g at which the interval of over - g under holds 0. None where that of
    `under` holds 0: the ratio may then be anything.
    """
    from scipy.optimize import brentq

    whole = interval_over(under)
    if whole is None or whole.low <= 0 <= whole.high:
        return None

    def outside(g: float) -> float:
        """Below 0 where g is in the interval."""
        pairs = zip(over, under, strict=True)
        found, squared = _spread(_strata([np.asarray(a) - g * np.asarray(b) for a, b in pairs]))
        return found**2 - squared(LEVEL)

    middle = _spread(_strata(over))[0] / whole.mean

    def end(direction: int) -> float:
        if outside(middle) >= 0:  # no spread at all
            return middle
        step = 0.25
        while outside(middle + direction * step) < 0 and step < 2**20:
            step *= 2
        return float(brentq(outside, middle, middle + direction * step))  # pyright: ignore[reportArgumentType]

    return end(-1), end(1)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given.

    Whatever depends on what, the chance that any true hypothesis falls below 0.05 is at most 0.05.
    """
    corrected, least = [0.0] * len(values), 0.0
    for place, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - place) * values[i]))
        corrected[i] = least
    return corrected


def _spread(
    strata: Sequence[tuple[float, NDArray[np.float64]]],
) -> tuple[float, Callable[[float], float]]:
    """The mean, and the square of the interval's half width at any level."""
    from scipy.special import stdtrit

    seeds = len(strata[0][1])
    by_seed = sum(weight * runs.mean(axis=1) for weight, runs in strata)
    assert isinstance(by_seed, np.ndarray)
    parts: list[tuple[int, float]] = []  # degrees of freedom and mean square
    if seeds > 1:
        parts.append((seeds - 1, float(by_seed.var(ddof=1)) / seeds))
    for weight, runs in strata:
        items = runs.shape[1]
        by_item = runs.mean(axis=0)
        square = float(by_item.var(ddof=1)) / items
        if seeds > 1:
            rest = runs - by_item - runs.mean(axis=1, keepdims=True) + runs.mean()
            square -= float((rest**2).sum()) / ((seeds - 1) * (items - 1)) / (seeds * items)
        parts.append((items - 1, weight**2 * max(0.0, square)))

    def squared(level: float) -> float:
        return sum(square * float(stdtrit(df, level / 2)) ** 2 for df, square in parts if square)

    return float(by_seed.mean()), squared


def _level(reached: float, squared: Callable[[float], float]) -> float:
    """The level at which an interval's half width has the square `reached`."""
    from scipy.optimize import brentq

    least = 1e-12
    if squared(least) <= reached:
        return 0.0 if reached else 1.0
    if not reached:
        return 1.0

    def excess(log: float) -> float:
        return squared(math.exp(log)) - reached

    return math.exp(float(brentq(excess, math.log(least), 0.0)))  # pyright: ignore[reportArgumentType]


def _strata(groups: Sequence[Runs]) -> list[tuple[float, NDArray[np.float64]]]:
    """For each number of items: the share of the groups that have it, and their mean outcomes."""
    by_size: dict[int, list[NDArray[np.float64]]] = {}
    for values in groups:
        runs = np.asarray(values, float)
        by_size.setdefault(runs.shape[1], []).append(runs)
    return [
        (len(alike) / len(groups), np.mean(np.asarray(alike), axis=0)) for alike in by_size.values()
    ]
