"""LoRA in weight space: exact sums of low-rank products, and their best approximations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adamergex.algebra.arrays import Array, device_of, finite_scale, namespace, wide, widened
from adamergex.errors import InputError

__all__ = ["LowRank", "Truncated", "WeightSpace", "concatenated", "inner", "truncated"]


@dataclass(frozen=True)
class LowRank:
    """The matrix `b @ a`, never multiplied out.

    For LoRA `b` carries the adapter's scaling, so that `b @ a` is the update of the weight itself:
    alpha/r B A, or alpha/sqrt(r) B A under rsLoRA (arXiv 2106.09685, 2312.03732).

    Attributes:
        b: (d_out, r)
        a: (r, d_in)
    """

    b: Array
    a: Array

    def __post_init__(self) -> None:
        if self.b.ndim != 2 or self.a.ndim != 2 or self.b.shape[1] != self.a.shape[0]:
            found = f"b {tuple(self.b.shape)}, a {tuple(self.a.shape)}"
            raise InputError("low-rank factors", found=found, needed="b (m, r), a (r, n)")

    @property
    def rank(self) -> int:
        """The number of columns of `b`: an upper bound of the rank of the product."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of the product."""
        return self.b.shape[0], self.a.shape[1]

    def dense(self) -> Array:
        """The product, (d_out, d_in), in float32 or better."""
        return wide(self.b) @ wide(self.a)

    def times(self, factor: float) -> LowRank:
        """The product times `factor`, at the same rank.

        Not checked to be finite: whatever computes with the factors, or stores them, is.
        """
        return self if factor == 1.0 else LowRank(widened(self.b) * factor, self.a)

    def padded(self, rank: int) -> LowRank:
        """The same product at a larger nominal rank, filled up with zeros."""
        xp = namespace(self.b, self.a)
        extra = rank - self.rank
        if extra < 0:
            raise InputError("rank to pad to", found=rank, needed=f"{self.rank} or more")
        if extra == 0:
            return self
        m, n = self.shape
        right = xp.zeros((m, extra), dtype=self.b.dtype, device=device_of(self.b))
        below = xp.zeros((extra, n), dtype=self.a.dtype, device=device_of(self.a))
        return LowRank(xp.concat([self.b, right], axis=1), xp.concat([self.a, below], axis=0))


def concatenated(*terms: LowRank) -> LowRank:
    """The exact sum of `terms`, of rank r_1 + r_2 + ...

    Nothing is computed: factors of one dtype stay in it, others are widened to float32 or better.

    Raises:
        InputError: Products of different shapes; NaN or infinity in what is widened.
    """
    for term in terms[1:]:
        if term.shape != terms[0].shape:
            raise InputError("low-rank product", found=term.shape, needed=terms[0].shape)
    return LowRank(
        _joined([term.b for term in terms], "b", axis=1),
        _joined([term.a for term in terms], "a", axis=0),
    )


def _joined(factors: list[Array], name: str, axis: int) -> Array:
    if any(x.dtype != factors[0].dtype for x in factors):
        factors = [wide(x, name) for x in factors]
    return namespace(*factors).concat(factors, axis=axis)


@dataclass(frozen=True)
class WeightSpace:
    """ΔW = ΔW_T + t (ΔW_Rt - ΔW_Rs), exact as concatenated factors of rank r_T + r_Rt + r_Rs.

    Unlike factor space it has no cross terms, and takes adapters of different ranks and scalings.
    """

    def difference(self, target: LowRank, source: LowRank) -> LowRank:
        """ΔW_Rt - ΔW_Rs, of rank r_Rt + r_Rs, in float32 or better."""
        return _widened(concatenated(target, source.times(-1.0)))

    def scaled(self, divergence: LowRank, t: float) -> LowRank:
        """T times the divergence; of rank 0 at t = 0, so that nothing dead is stored."""
        if finite_scale(t) == 0.0:
            return LowRank(divergence.b[:, :0], divergence.a[:0, :])
        return divergence.times(t)

    def applied(self, divergence: LowRank, task: LowRank) -> LowRank:
        """ΔW_T + divergence, in float32 or better."""
        return _widened(concatenated(task, divergence))


def _widened(x: LowRank) -> LowRank:
    return LowRank(wide(x.b), wide(x.a))


def _core(x: LowRank) -> tuple[Array, Array, Array]:
    """Orthonormal bases and the small core: b @ a == q_b @ core @ q_a.T. O((m + n) r²)."""
    xp = namespace(x.b, x.a)
    q_b, r_b = xp.linalg.qr(wide(x.b, "b"))
    q_a, r_a = xp.linalg.qr(wide(x.a, "a").T)
    return q_b, r_b @ r_a.T, q_a


@dataclass(frozen=True)
class Truncated:
    """The best approximation of a low-rank product at a smaller rank, and what it cost.

    Attributes:
        product: The approximation.
        lost: Frobenius norm of what was cut off.
        norm: Frobenius norm of the whole.
    """

    product: LowRank
    lost: float
    norm: float

    @property
    def error(self) -> float:
        """The relative Frobenius error; 0 for a zero matrix."""
        return self.lost / self.norm if self.norm else 0.0


def truncated(x: LowRank, rank: int) -> Truncated:
    """The rank-`rank` matrix nearest to `x` in Frobenius norm (Eckart-Young).

    From QR of the stacked factors and an SVD of their small core: an m x n matrix is never formed.
    The singular values are shared evenly between both factors, which keeps half precision safe.

    Args:
        x: The product, of shape (m, n).
        rank: 1 or more. Where it exceeds the rank of `x`, the factors are filled up with zeros.

    Raises:
        InputError: A rank below 1; NaN or infinity in a factor.
    """
    if rank < 1:
        raise InputError("rank", found=rank, needed="1 or more")
    xp = namespace(x.b, x.a)
    q_b, core, q_a = _core(x)
    u, s, vt = xp.linalg.svd(core, full_matrices=False)
    k = min(rank, s.shape[0])
    root = xp.sqrt(s[:k])
    kept = LowRank(q_b @ (u[:, :k] * root), (root[:, None] * vt[:k, :]) @ q_a.T)
    values = [float(v) for v in s]
    return Truncated(kept.padded(rank), math.hypot(*values[k:]), math.hypot(*values))


def inner(x: LowRank, y: LowRank) -> float:
    """The Frobenius inner product <b_x a_x, b_y a_y>, from Gram matrices of size r_x x r_y."""
    xp = namespace(x.b, x.a, y.b, y.a)
    return float(xp.sum((wide(x.b).T @ wide(y.b)) * (wide(x.a) @ wide(y.a).T)))
