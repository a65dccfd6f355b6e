"""(IA)³: adapters that rescale activations, merged by multiplication and division."""

from __future__ import annotations

from dataclasses import dataclass

from adamergex.algebra.arrays import Array, finite_scale, namespace, same_shape, wide

__all__ = ["Geometric", "Multiplicative", "Ratio"]

GUARD = 1e-3
"""Source multipliers smaller than this are not divided by.

An (IA)³ vector starts at 1. Below a thousandth the source reference has switched a channel off, and
a ratio to it says nothing of the languages.
"""


@dataclass(frozen=True)
class Ratio:
    """A multiplicative divergence.

    Attributes:
        values: What T is to be multiplied by; any shape.
        guarded: How many elements were left at 1 because the ratio there means nothing.
    """

    values: Array
    guarded: int


def _ratio(target: Array, source: Array, usable: Array) -> Ratio:
    xp = namespace(target, source)
    one = xp.ones_like(source)
    values = xp.where(usable, target / xp.where(usable, source, one), one)
    return Ratio(values, int(xp.sum(xp.astype(~usable, xp.int64))))


@dataclass(frozen=True)
class Multiplicative:
    """l_T ⊙ (t (l_Rt ⊘ l_Rs - 1) + 1), element by element.

    Source: arXiv 2402.18913, equation for (IA)³. Where |l_Rs| is below `guard` the ratio is taken
    as 1 and counted.

    Attributes:
        guard: The smallest magnitude that is divided by.
    """

    guard: float = GUARD

    def difference(self, target: Array, source: Array) -> Ratio:
        """l_Rt ⊘ l_Rs. Both of one shape, any shape."""
        same_shape(target, source)
        target, source = wide(target), wide(source)
        return _ratio(target, source, namespace(source).abs(source) >= self.guard)

    def scaled(self, divergence: Ratio, t: float) -> Ratio:
        """T (ratio - 1) + 1."""
        values = (divergence.values - 1.0) * finite_scale(t) + 1.0
        return Ratio(values, divergence.guarded)

    def applied(self, divergence: Ratio, task: Array) -> Array:
        """l_T ⊙ divergence."""
        same_shape(divergence.values, task)
        return wide(task) * divergence.values


@dataclass(frozen=True)
class Geometric(Multiplicative):
    """l_T ⊙ (l_Rt ⊘ l_Rs)^t: the same path in logarithms, so that t = 2 is twice t = 1.

    Not in the paper. A ratio that is not positive has no real power: it too is guarded.
    """

    def difference(self, target: Array, source: Array) -> Ratio:
        """l_Rt ⊘ l_Rs where both have one sign and both are at least `guard` in magnitude."""
        same_shape(target, source)
        target, source = wide(target), wide(source)
        xp = namespace(target, source)
        large = (xp.abs(source) >= self.guard) & (xp.abs(target) >= self.guard)
        return _ratio(target, source, large & (target * source > 0))

    def scaled(self, divergence: Ratio, t: float) -> Ratio:
        """Ratio ^ t."""
        return Ratio(divergence.values ** finite_scale(t), divergence.guarded)
