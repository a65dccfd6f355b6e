"""Weighted sums of LoRA's weight updates, at the least rank that their factors show to be exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamergex.algebra import LowRank, concatenated, wide
from adamergex.checkpoint import Checkpoint, Dtype, NDArray
from adamergex.merging.units import stored_dtype

__all__ = ["Sum", "summed", "update"]

_Pair = tuple[int, int]
"""Whose A and whose B, by the first checkpoint that has it."""


def update(checkpoint: Checkpoint, module: str, weight: float = 1.0) -> LowRank:
    """One module's weight update as factors: b (out, r) with the scaling in it, a (r, in).

    `weight` is multiplied into the scaling first, so that b is rounded once. What is not scaled is
    in its stored dtype.

    Kernels of convolutions are flattened, (r, in, k, k) to (r, in k k): the product is the same.
    """
    a, b = _flat(checkpoint, module, "a"), _flat(checkpoint, module, "b")
    return LowRank(b, a).times(checkpoint.scaling(module) * weight)


@dataclass(frozen=True)
class Sum:
    """Σ w ΔW, each factor that several adapters have in common stored once.

    Attributes:
        checkpoints: What is added, those of weight 0 included.
        shared: `a` or `b`: the factor that the products of one group have in common.
        groups: The products, A of one checkpoint with B of one, and by which they are multiplied in
            each module: weights times scalings.
        unread: Checkpoints of which nothing is in the sum.
    """

    checkpoints: Sequence[Checkpoint]
    shared: str
    groups: Sequence[Mapping[_Pair, Mapping[str, float]]]
    unread: Sequence[Checkpoint]

    def rank(self, module: str) -> int:
        """The rank of one module's sum, 0 where everything cancels."""
        return sum(self._shape(next(iter(group)), module) for group in self.groups)

    @property
    def largest_rank(self) -> int:
        """The rank that all modules fit in; 1 for a sum that is zero: PEFT knows no rank 0."""
        return max(1, *(self.rank(module) for module in self.checkpoints[0].layout.modules))

    def product(self, module: str) -> LowRank:
        """One module's sum. What is not in it is read, too, and so checked to be finite."""
        for checkpoint in self.unread:
            checkpoint.part(module, "a")
            checkpoint.part(module, "b")
        if not self.groups:
            zero = update(self.checkpoints[0], module)
            return LowRank(wide(zero.b)[:, :0], wide(zero.a)[:0])
        return concatenated(*(self._product(group, module) for group in self.groups))

    def is_lossless_in(self, dtype: Dtype) -> bool:
        """Whether storing the sum in half precision, from such factors, rounds nothing.

        The only arithmetic is folding a number into a factor. A power of two leaves the digits as
        they are; float16 has few exponents: there one below 1 rounds the smallest numbers away.
        """
        if stored_dtype(self.checkpoints) != dtype or any(len(group) > 1 for group in self.groups):
            return False
        smallest = 0.0 if dtype == "bfloat16" else 1.0
        factors = {abs(f) for group in self.groups for by in group.values() for f in by.values()}
        return all(f == 0 or (math.frexp(f)[0] == 0.5 and f >= smallest) for f in factors)

    def _shape(self, pair: _Pair, module: str) -> int:
        return self.checkpoints[pair[0]].shape(module, "a")[0]

    def _product(self, group: Mapping[_Pair, Mapping[str, float]], module: str) -> LowRank:
        found = [(pair, by[module]) for pair, by in group.items()]
        i, j = found[0][0]
        a, b = (_flat(self.checkpoints[k], module, part) for k, part in ((i, "a"), (j, "b")))
        if len(found) == 1:
            return LowRank(b, a).times(found[0][1])
        if self.shared == "a":
            return LowRank(self._added([(j, f) for (_, j), f in found], module, "b"), a)
        return LowRank(b, self._added([(i, f) for (i, _), f in found], module, "a"))

    def _added(self, terms: Iterable[tuple[int, float]], module: str, part: str) -> NDArray:
        """Σ f x in float64, rounded once."""
        parts = [(wide(_flat(self.checkpoints[k], module, part)), f) for k, f in terms]
        total = sum(f * x.astype(np.float64) for x, f in parts)
        return np.asarray(total, np.result_type(*(x for x, _ in parts)))


def summed(terms: Iterable[tuple[Checkpoint, float]]) -> Sum:
    """Plans Σ weight ΔW. Common factors are found by comparing them, module by module.

    Adapters of one A and one B become one, whatever their scalings, and none where they cancel;
    those with A alone in common (or B alone, whichever gives the lower rank) become one of that
    rank. An adapter whose B is zero, as before any training, adds nothing.

    Raises:
        InputError: NaN or infinity in a factor that is compared.
    """
    checkpoints, weights = zip(*terms, strict=True)
    used = [i for i, (c, w) in enumerate(zip(checkpoints, weights, strict=True)) if w and _acts(c)]
    first = {part: _first(checkpoints, used, part) for part in ("a", "b")}
    factors: dict[_Pair, dict[str, float]] = {}
    for i in used:
        by = factors.setdefault((first["a"][i], first["b"][i]), {})
        for module in checkpoints[i].layout.modules:
            by[module] = by.get(module, 0.0) + weights[i] * checkpoints[i].scaling(module)
    factors = {pair: by for pair, by in factors.items() if any(by.values())}
    sums = [_grouped(checkpoints, part, factors) for part in ("a", "b")]
    return min(sums, key=lambda found: found.largest_rank)


def _grouped(
    checkpoints: Sequence[Checkpoint], shared: str, factors: Mapping[_Pair, Mapping[str, float]]
) -> Sum:
    groups: dict[int, dict[_Pair, Mapping[str, float]]] = {}
    for pair, by in factors.items():
        groups.setdefault(pair[shared == "b"], {})[pair] = by
    read = {i for pair in factors for i in pair}
    unread = [c for i, c in enumerate(checkpoints) if i not in read]
    return Sum(checkpoints, shared, list(groups.values()), unread)


def _first(checkpoints: Sequence[Checkpoint], used: Sequence[int], part: str) -> dict[int, int]:
    """Checkpoint -> the first that has the same factors everywhere."""
    found: dict[int, int] = {}
    for i in used:
        kinds = dict.fromkeys(found.values())
        same = (j for j in kinds if _same(checkpoints[j], checkpoints[i], part))
        found[i] = next(same, i)
    return found


def _same(one: Checkpoint, other: Checkpoint, part: str) -> bool:
    modules = one.layout.modules
    return all(one.shape(m, part) == other.shape(m, part) for m in modules) and all(
        np.array_equal(one.part(m, part), other.part(m, part)) for m in modules
    )


def _acts(checkpoint: Checkpoint) -> bool:
    return any(np.any(checkpoint.part(module, "b")) for module in checkpoint.layout.modules)


def _flat(checkpoint: Checkpoint, module: str, part: str) -> NDArray:
    """A factor as a matrix: (r, in k k) of a convolution's (r, in, k, k)."""
    value = checkpoint.part(module, part)
    return value.reshape(value.shape[0], -1)
