"""The three verbs that every structure speaks, and the formula made of them."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Structure", "transferred"]


class Structure(Protocol):
    """How adapters of one structure are subtracted, scaled and added.

    An *operand* is what one adapter contributes at one place of the model (a LoRA product, an
    (IA)³ vector, a prefix matrix); a *divergence* is Rt ⊖ Rs there. Each structure defines both
    types. All arithmetic is in float32 or better, and no argument is changed.
    """

    def difference(self, target: Any, source: Any) -> Any:
        """The divergence Rt ⊖ Rs."""
        ...

    def scaled(self, divergence: Any, t: float) -> Any:
        """The divergence, `t` times as strong. Raises InputError where `t` is not finite."""
        ...

    def applied(self, divergence: Any, task: Any) -> Any:
        """T ⊕ divergence: an operand."""
        ...


def transferred(
    structure: Structure, *, task: Any, reference_target: Any, reference_source: Any, scale: float
) -> Any:
    """T ⊕ t · (Rt ⊖ Rs): the paper's equation for every structure (arXiv 2402.18913, section 3).

    Whatever the structure, it is T at scale 0, and T at every scale where Rt equals Rs.

    Args:
        structure: The rule.
        task: Operand of the task adapter (target task, source language).
        reference_target: Operand of the target reference (reference task, target language).
        reference_source: Operand of the source reference (reference task, source language).
        scale: t, any finite number.

    Raises:
        InputError: Shapes that do not fit, NaN or infinity in an operand or in `scale`.
    """
    divergence = structure.difference(reference_target, reference_source)
    return structure.applied(structure.scaled(divergence, scale), task)
