"""How sure a score is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

__all__ = ["accuracy", "majority", "paired_bootstrap", "standard_error"]


def accuracy(correct: Sequence[bool]) -> float:
    """The share of items that are right."""
    return sum(correct) / len(correct)


def standard_error(correct: Sequence[bool]) -> float:
    """The standard error of `accuracy`: the sample's standard deviation over sqrt(n)."""
    n, p = len(correct), accuracy(correct)
    return math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else math.nan


def majority(gold: Sequence[int]) -> float:
    """The accuracy of always giving the commonest answer."""
    return Counter(gold).most_common(1)[0][1] / len(gold)


def paired_bootstrap(
    correct: Sequence[bool], baseline: Sequence[bool], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """The difference of two accuracies on the same items, and its 95% percentile interval.

    Items are drawn with replacement, both systems' outcomes of an item together (Efron and
    Tibshirani 1993; for NLP, Koehn 2004): what makes items hard for both cancels.

    Returns:
        difference, lower end, upper end.
    """
    differences = np.asarray(correct, float) - np.asarray(baseline, float)
    rng = np.random.default_rng(seed)
    n = len(differences)
    drawn = differences[rng.integers(0, n, size=(resamples, n))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)
