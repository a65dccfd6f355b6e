"""Merging LoRA, rsLoRA and DoRA checkpoints, module by module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from adamergex.algebra import (
    STRUCTURES,
    Additive,
    LowRank,
    Multiplicative,
    transferred,
    truncated,
)
from adamergex.checkpoint import Checkpoint, Dtype, NDArray, TensorInfo, numpy_dtype
from adamergex.errors import InputError
from adamergex.merging.options import MergeOptions
from adamergex.merging.sums import Sum, summed, update
from adamergex.merging.three import Three
from adamergex.merging.units import Computed, Outline, Unit, stored_dtype, wide_part

__all__ = ["Stored", "outline", "portable", "sum_outline"]


def outline(three: Three, options: MergeOptions) -> Outline:
    """How three LoRA adapters merge.

    The result is portable: the scaling is folded into B (so alpha == r), and every module has one
    rank, smaller ones being filled up with zeros, so that servers which read neither rsLoRA nor
    patterns load it right.

    Raises:
        InputError: In factor space, adapters of different ranks or scalings.
    """
    if options.space == "factor":
        _check_factor_space(three)
        dtype = stored_dtype(three) if options.dtype == "auto" else options.dtype
        rank = max(_rank(three.task, module) for module in three.task.layout.modules)

        def parts(module: str) -> Computed:
            factors = (update(c, module) for c in three)
            made = _factor_space(*factors, scale=options.scale).padded(rank)
            product = Computed({"a": made.a, "b": made.b})
            return _joined(product, _extras(three, options.scale, module))

        return portable(three.task, "factor", rank, dtype, parts)
    weights = (1.0, options.scale, -options.scale)
    total = summed(zip(three, weights, strict=True))
    return sum_outline(
        total, "weight", options.rank, options.dtype,
        extras=lambda module: _extras(three, options.scale, module),
    )  # fmt: skip


def sum_outline(
    total: Sum,
    space: str,
    rank: int | Literal["exact"],
    dtype: Dtype | Literal["auto"],
    extras: Callable[[str], Computed],
) -> Outline:
    """An outline whose products are a sum, exact or approximated.

    Args:
        total: The sum. Its first checkpoint gives the modules, their names and their shapes.
        space: The space's name.
        rank: `exact`, or the rank to approximate at; a rank in which the sum fits is exact.
        dtype: What to store in; `auto` is the inputs' type, or float32 where that would round an
            exact sum.
        extras: Module -> what else it has than a and b.
    """
    exact = rank == "exact" or rank >= total.largest_rank
    stored = Stored.of(total, exact, dtype)
    most = total.largest_rank if exact else int(rank)

    def parts(module: str) -> Computed:
        product = total.product(module)
        cut = None if exact else truncated(product, most)
        kept = product.padded(most) if cut is None else cut.product
        made = Computed({"a": kept.a, "b": kept.b})
        if stored.rounds:
            made = replace(made, lost=_distance(product, _as_stored(kept, stored.dtype)),
                           norm=_distance(product))  # fmt: skip
        elif cut is not None:
            made = replace(made, lost=cut.lost, norm=cut.norm)
        return _joined(made, extras(module))

    made = portable(total.checkpoints[0], space, most, stored.dtype, parts)
    return replace(made, exact=exact, rounds=stored.rounds)


@dataclass(frozen=True)
class Stored:
    """What a sum is stored in.

    Attributes:
        dtype: The type.
        rounds: Whether that rounds more than arithmetic in float32 does.
    """

    dtype: Dtype
    rounds: bool

    @classmethod
    def of(cls, total: Sum, exact: bool, asked: Dtype | Literal["auto"]) -> Stored:
        """The type that was asked for; by default the inputs', or float32 where it would round."""
        own = stored_dtype(total.checkpoints)
        modules = total.checkpoints[0].layout.modules.values()
        plain = all(part in "ab" for parts in modules for part in parts)
        dtype: Dtype = own if asked == "auto" else asked
        if dtype in ("float32", "float64"):
            return cls(dtype, False)
        lossless = exact and plain and total.is_lossless_in(dtype)
        if asked == "auto" and exact and not lossless:
            return cls("float32", False)
        return cls(dtype, not lossless)


def _as_stored(product: LowRank, dtype: Dtype) -> LowRank:
    b, a = (np.asarray(x, numpy_dtype(dtype)) for x in (product.b, product.a))
    return LowRank(b, a)


def _distance(product: LowRank, other: LowRank | None = None) -> float:
    """The Frobenius norm of a product, or of its difference from another, in float64."""
    terms = [product] if other is None else [product, other.times(-1.0)]
    b, a = ([np.asarray(getattr(x, part), np.float64) for x in terms] for part in ("b", "a"))
    b, a = np.concatenate(b, axis=1), np.concatenate(a, axis=0)
    # What half precision cannot hold is infinite here, and refused where it is written.
    return math.sqrt(max(float(np.sum((b.T @ b) * (a @ a.T))), 0.0))


def _joined(product: Computed, extras: Computed) -> Computed:
    return replace(product, values={**product.values, **extras.values}, guarded=extras.guarded)


def portable(
    task: Checkpoint, space: str, rank: int, dtype: Dtype, parts: Callable[[str], Computed]
) -> Outline:
    """An outline in which every module has one rank and scaling 1.

    Args:
        task: Gives the modules, their tensors' names and their shapes.
        space: The space's name.
        rank: The rank of every module.
        dtype: The stored dtype.
        parts: Module -> its parts (a, b, magnitude, bias), matrices flattened.
    """

    def unit(module: str) -> Unit:
        names = task.layout.modules[module]
        shapes = {part: _with_rank(task.shape(module, part), part, rank) for part in names}
        tensors = {name: TensorInfo(shapes[part], dtype) for part, name in names.items()}

        def compute() -> Computed:
            made = parts(module)
            values = {n: made.values[part].reshape(shapes[part]) for part, n in names.items()}
            return replace(made, values=values)

        return Unit(module, tensors, compute)

    changes = {
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "init_lora_weights": True,
    }
    return Outline(space, dtype, [unit(m) for m in task.layout.modules], changes, rank)


def _factor_space(t: LowRank, rt: LowRank, rs: LowRank, *, scale: float) -> LowRank:
    def added(task: NDArray, target: NDArray, source: NDArray) -> NDArray:
        return transferred(
            STRUCTURES["LORA", "factor"],
            task=task,
            reference_target=target,
            reference_source=source,
            scale=scale,
        )

    return LowRank(added(t.b, rt.b, rs.b), added(t.a, rt.a, rs.a))


def _extras(three: Three, scale: float, module: str) -> Computed:
    """DoRA's magnitudes, merged like (IA)³; B's biases, which PEFT scales with the product."""
    values: dict[str, NDArray] = {}
    guarded = 0
    parts = three.task.layout.modules[module]
    if "magnitude" in parts:
        m, m_rt, m_rs = (wide_part(c, module, "magnitude") for c in three)
        rule = Multiplicative()
        ratio = rule.difference(m_rt, m_rs)
        values["magnitude"] = rule.applied(rule.scaled(ratio, scale), m)
        guarded = ratio.guarded
    if "bias" in parts:
        t, rt, rs = (wide_part(c, module, "bias") * c.scaling(module) for c in three)
        values["bias"] = transferred(
            Additive(), task=t, reference_target=rt, reference_source=rs, scale=scale
        )
    return Computed(values, guarded=guarded)


def _with_rank(shape: tuple[int, ...], part: str, rank: int) -> tuple[int, ...]:
    return {"a": (rank, *shape[1:]), "b": (shape[0], rank, *shape[2:])}.get(part, shape)


def _rank(checkpoint: Checkpoint, module: str) -> int:
    return checkpoint.shape(module, "a")[0]


def _check_factor_space(three: Three) -> None:
    for other in three.references:
        for module in three.task.layout.modules:
            found, needed = _rank(other, module), _rank(three.task, module)
            if found != needed:
                needed = f"{needed}, as {three.task.name}; or weight space, which takes any rank"
                raise InputError(other.name, module, "rank", found=found, needed=needed)
            found, needed = other.scaling(module), three.task.scaling(module)
            if found != needed:
                needed = (
                    f"{needed:g}, as {three.task.name}; or weight space, which takes any scaling"
                )
                raise InputError(other.name, module, "scaling", found=found, needed=needed)
