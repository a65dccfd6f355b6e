"""How sure a score is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_over", "mean", "paired_bootstrap", "standard_error", "standard_error_over"]

Items: TypeAlias = Sequence[float] | NDArray[np.float64]

_DRAWN_AT_ONCE = 2**20
"""Items: of more resamples than that many at once the memory would be felt."""


def mean(values: Items) -> float:
    """The mean over items."""
    return math.fsum(values) / len(values)


def standard_error(values: Items) -> float | None:
    """The standard error of the mean: the sample's standard deviation over sqrt(n).

    None for one item, which says nothing of others.
    """
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None


def paired_bootstrap(
    values: Items, baseline: Items, *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """The difference of two means over the same items, and its 95% percentile interval.

    Items are drawn with replacement, both systems' outcomes of an item together (Efron and
    Tibshirani 1993; for NLP, Koehn 2004): what makes items hard for both cancels.

    Returns:
        difference, lower end, upper end.
    """
    return bootstrap_over(
        [np.asarray(values, float) - np.asarray(baseline, float)], resamples=resamples, seed=seed
    )


def standard_error_over(groups: Sequence[Items]) -> float | None:
    """The standard error of the mean of the groups' means; groups as `bootstrap_over` says."""
    parts = [(weight, standard_error(values)) for weight, values in _strata(groups)]
    errors = [weight * error for weight, error in parts if error is not None]
    return math.hypot(*errors) if len(errors) == len(parts) else None


def bootstrap_over(
    groups: Sequence[Items], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean of the groups' means, each group counting the same, and its 95% interval.

    Groups of as many items are taken to hold the same items in one order, as translations of a test
    set do, and an item is drawn for all of them: what makes it hard in one language may do so in
    others. If they are other items, in an order that says nothing of them, the interval is as wide
    as it should be. Groups of other sizes are drawn apart, as if they had nothing in common.

    Args:
        groups: Each group's items; of a difference, each item's own.
        resamples: How often items are drawn anew.
        seed: For the draws.

    Returns:
        mean, lower end, upper end.
    """
    rng = np.random.default_rng(seed)
    drawn, found = np.zeros(resamples), 0.0
    for weight, values in _strata(groups):
        drawn += weight * _means_of_resamples(values, resamples, rng)
        found += weight * float(values.mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    return found, float(low), float(high)


def _means_of_resamples(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    n = len(values)
    at_once = max(1, _DRAWN_AT_ONCE // n)
    sizes = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    return np.concatenate([values[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])


def _strata(groups: Sequence[Items]) -> list[tuple[float, NDArray[np.float64]]]:
    """For each number of items: the share of the groups that have it, and each item's mean."""
    by_size: dict[int, list[Items]] = {}
    for values in groups:
        by_size.setdefault(len(values), []).append(values)
    return [
        (len(alike) / len(groups), np.mean(np.asarray(alike, float), axis=0))
        for alike in by_size.values()
    ]
