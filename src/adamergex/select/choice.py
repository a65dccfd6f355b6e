"""Which of several candidates to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adamergex.errors import InputError

__all__ = ["Candidate", "chosen"]


@dataclass(frozen=True)
class Candidate:
    """One setting of a method and how it did on dev.

    Attributes:
        scale: How far it is from the task adapter, t for a merge; 0 is the task adapter.
        score: Its dev score, higher is better.
    """

    scale: float
    score: float


def chosen(candidates: Sequence[Candidate]) -> int:
    """The index of the candidate with the highest dev score; of equals, the smallest scale.

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
