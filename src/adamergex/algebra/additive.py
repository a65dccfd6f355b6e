"""Plain addition: LoRA factors as published (factor space), biases, dense differences."""

from __future__ import annotations

from dataclasses import dataclass

from adamergex.algebra.arrays import Array, finite_scale, same_shape, wide

__all__ = ["Additive"]


@dataclass(frozen=True)
class Additive:
    """T + t (Rt - Rs), element by element, on arrays of one shape.

    Source: arXiv 2402.18913, equation for LoRA, which applies it to the factors A and B one by one.
    """

    def difference(self, target: Array, source: Array) -> Array:
        """Rt - Rs. Both of one shape, any shape."""
        same_shape(target, source)
        return wide(target) - wide(source)

    def scaled(self, divergence: Array, t: float) -> Array:
        """T times the divergence."""
        return divergence * finite_scale(t)

    def applied(self, divergence: Array, task: Array) -> Array:
        """T + divergence."""
        same_shape(divergence, task)
        return wide(task) + divergence
