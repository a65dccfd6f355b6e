"""Which of several candidates to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamergex.errors import InputError

__all__ = ["Candidate", "chosen", "confidence"]


@dataclass(frozen=True)
class Candidate:
    """One setting of a method and how it did.

    Attributes:
        scale: How far it is from the task adapter, t for a merge; 0 is the task adapter.
        score: Its dev score, or its confidence; higher is better.
    """

    scale: float
    score: float


def chosen(candidates: Sequence[Candidate]) -> int:
    """The index of the candidate with the highest score; of equals, the smallest scale.

    Raises:
        InputError: No candidate, or none of scale 0: leaving the task adapter alone must always
            be in the running, or a harmful merge could win for want of a rival.
    """
    scales = [c.scale for c in candidates]
    if 0 not in scales:
        raise InputError("candidates", found=scales, needed="one of scale 0 among them")
    return min(
        range(len(candidates)), key=lambda i: (-candidates[i].score, abs(candidates[i].scale))
    )


def confidence(log_likelihoods: Sequence[Sequence[float]]) -> float:
    """How much the answers say without labels: H(mean p) - mean H(p), in nats.

    The mutual information of question and answer: high where each answer is sure and all answers
    together are varied. Low entropy alone would reward a model that always says the same. Source:
    Bridle, Heading and MacKay 1992; as an objective for adapting without labels, SHOT
    (arXiv 2002.08546).

    Args:
        log_likelihoods: Of each choice of each question. Questions may differ in their number of
            choices; the k-th choice of one is then taken for that of another.

    Returns:
        Between 0 and the logarithm of the number of choices.
    """
    widest = max(len(row) for row in log_likelihoods)
    p = np.zeros((len(log_likelihoods), widest))
    for i, row in enumerate(log_likelihoods):
        shifted = np.exp(np.asarray(row) - max(row))
        p[i, : len(row)] = shifted / shifted.sum()
    return float(_entropy(p.mean(axis=0)) - _entropy(p).mean())


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)
