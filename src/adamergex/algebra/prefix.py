"""Prefix tuning: adapters that put key and value vectors before the text."""

from __future__ import annotations

from dataclasses import dataclass

from adamergex.algebra.arrays import Array, finite_scale, namespace, same_shape, wide
from adamergex.errors import InputError

__all__ = ["Prefix"]


@dataclass(frozen=True)
class Prefix:
    """P = (t (P_Rt P_Rs⁺ - I) + I) P_T for each matrix of (virtual tokens, dim).

    Source: arXiv 2402.18913, equation for prefix tuning; ⁺ is the Moore-Penrose inverse.

    The divergence is computed as (P_Rt - P_Rs) P_Rs⁺, which equals P_Rt P_Rs⁺ - I wherever P_Rs has
    full row rank, as it has with fewer virtual tokens than dimensions. Where it has not, P_Rs P_Rs⁺
    is a projection rather than I, and the formula as printed would change T even if Rt equals Rs;
    this form leaves what Rs does not span alone.

    What the formula cannot do: at t = 1 and T = Rs it gives P_Rt only within the row space of P_Rs.
    Where Rs is T, `merging` takes the additive rule in its place.

    Attributes:
        rcond: Singular values below `rcond` times the largest count as zero in the inverse.
    """

    rcond: float = 1e-5

    def difference(self, target: Array, source: Array) -> Array:
        """(P_Rt - P_Rs) P_Rs⁺: (..., v, d), (..., v, d) -> (..., v, v)."""
        same_shape(target, source)
        if source.ndim < 2:
            raise InputError("prefix", found=tuple(source.shape), needed="(..., tokens, dim)")
        target, source = wide(target), wide(source)
        xp = namespace(target, source)
        return (target - source) @ xp.linalg.pinv(source, rtol=self.rcond)

    def scaled(self, divergence: Array, t: float) -> Array:
        """T times the divergence."""
        return divergence * finite_scale(t)

    def applied(self, divergence: Array, task: Array) -> Array:
        """P_T + divergence P_T: (..., v, v), (..., v, d) -> (..., v, d)."""
        task = wide(task)
        if divergence.shape[-1] != task.shape[-2]:
            needed = f"{divergence.shape[-1]} virtual tokens"
            raise InputError("prefix", found=f"{task.shape[-2]} virtual tokens", needed=needed)
        return task + divergence @ task
