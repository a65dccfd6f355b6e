"""How sure a score is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["mean", "paired_bootstrap", "standard_error"]


def mean(values: Sequence[float]) -> float:
    """The mean over items."""
    return math.fsum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean: the sample's standard deviation over sqrt(n).

    None for one item, which says nothing of others.
    """
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None


def paired_bootstrap(
    values: Sequence[float], baseline: Sequence[float], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """The difference of two means over the same items, and its 95% percentile interval.

    Items are drawn with replacement, both systems' outcomes of an item together (Efron and
    Tibshirani 1993; for NLP, Koehn 2004): what makes items hard for both cancels.

    Returns:
        difference, lower end, upper end.
    """
    differences = np.asarray(values, float) - np.asarray(baseline, float)
    rng = np.random.default_rng(seed)
    n = len(differences)
    drawn = np.array([differences[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)
