"""Merging LoRA, rsLoRA and DoRA checkpoints, module by module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from adamergex.algebra import (
    STRUCTURES,
    Additive,
    LowRank,
    Multiplicative,
    concatenated,
    transferred,
    truncated,
)
from adamergex.checkpoint import Checkpoint, Dtype, NDArray, TensorInfo
from adamergex.errors import InputError
from adamergex.merging.options import MergeOptions
from adamergex.merging.three import Three
from adamergex.merging.units import Computed, Outline, Unit, stored_dtype, wide_part

__all__ = ["outline", "portable", "update"]


def outline(three: Three, options: MergeOptions) -> Outline:
    """How three LoRA adapters merge.

    The result is portable: the scaling is folded into B (so alpha == r), and every module has one
    rank, smaller ones being filled up with zeros, so that servers which read neither rsLoRA nor
    patterns load it right.

    Raises:
        InputError: In factor space, adapters of different ranks or scalings.
    """
    space = "factor" if options.space == "factor" else "weight"
    if space == "factor":
        _check_factor_space(three)
    rank = _output_rank(three, options, space)
    merger = _Merger(three, options, space, rank)
    return portable(three.task, space, rank, _output_dtype(three, options, space), merger.parts)


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


def update(checkpoint: Checkpoint, module: str, weight: float = 1.0) -> LowRank:
    """One module's weight update as factors: b (out, r) with the scaling in it, a (r, in).

    `weight` is multiplied into the scaling first, so that b is rounded once. What is not scaled is
    in its stored dtype.

    Kernels of convolutions are flattened, (r, in, k, k) to (r, in k k): the product is the same.
    """
    b, a = checkpoint.part(module, "b"), checkpoint.part(module, "a")
    flat = LowRank(b.reshape(b.shape[0], -1), a.reshape(a.shape[0], -1))
    return flat.times(checkpoint.scaling(module) * weight)


@dataclass(frozen=True)
class _Merger:
    three: Three
    options: MergeOptions
    space: str
    rank: int

    def parts(self, module: str) -> Computed:
        product, extras = self._product(module), self._extras(module)
        values = {**product.values, **extras.values}
        return replace(product, values=values, guarded=extras.guarded)

    def _transferred(self, structure: Any, task: Any, target: Any, source: Any) -> Any:
        return transferred(
            structure,
            task=task,
            reference_target=target,
            reference_source=source,
            scale=self.options.scale,
        )

    def _product(self, module: str) -> Computed:
        exact, scale = self.options.rank == "exact", self.options.scale
        if self.space == "weight" and exact and scale != 0:
            # The rule's sum in one piece, which leaves A as it is stored.
            weights = zip(self.three, (1.0, scale, -scale), strict=True)
            product = concatenated(*(update(c, module, weight) for c, weight in weights))
        else:
            product = self._by_rule(*(update(c, module) for c in self.three))
        if exact:
            product = product.padded(self.rank)
            return Computed({"a": product.a, "b": product.b})
        cut = truncated(product, self.rank)
        return Computed({"a": cut.product.a, "b": cut.product.b}, cut.lost, cut.norm)

    def _by_rule(self, t: LowRank, rt: LowRank, rs: LowRank) -> LowRank:
        rule = STRUCTURES["LORA", self.space]
        if self.space == "weight":
            return self._transferred(rule, t, rt, rs)
        return LowRank(
            self._transferred(rule, t.b, rt.b, rs.b), self._transferred(rule, t.a, rt.a, rs.a)
        )

    def _extras(self, module: str) -> Computed:
        """DoRA's magnitudes, merged like (IA)³; B's biases, which PEFT scales with the product."""
        values: dict[str, NDArray] = {}
        guarded = 0
        parts = self.three.task.layout.modules[module]
        if "magnitude" in parts:
            m, m_rt, m_rs = (wide_part(c, module, "magnitude") for c in self.three)
            rule = Multiplicative()
            ratio = rule.difference(m_rt, m_rs)
            values["magnitude"] = rule.applied(rule.scaled(ratio, self.options.scale), m)
            guarded = ratio.guarded
        if "bias" in parts:
            scaled = [wide_part(c, module, "bias") * c.scaling(module) for c in self.three]
            values["bias"] = self._transferred(Additive(), *scaled)
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


def _output_rank(three: Three, options: MergeOptions, space: str) -> int:
    task_only = space == "factor" or options.scale == 0
    sources = (three.task,) if task_only else tuple(three)
    exact = max(sum(_rank(c, module) for c in sources) for module in three.task.layout.modules)
    return exact if options.rank == "exact" else min(exact, options.rank)


def _output_dtype(three: Three, options: MergeOptions, space: str) -> Dtype:
    """The dtype asked for; by default the inputs', or float32 where an exact result needs it.

    In weight space at exact rank the only arithmetic is folding a factor into B. A power of two
    leaves the digits of a half-precision number as they are; any other factor would be rounded.
    """
    if options.dtype != "auto":
        return options.dtype
    dtype = stored_dtype(three)
    if dtype in ("float32", "float64") or space == "factor" or options.rank != "exact":
        return dtype
    factors = {
        weight * c.scaling(module)
        for c, weight in zip(three, (1.0, options.scale, options.scale), strict=True)
        for module in c.layout.modules
    }
    # float16 has few exponents: there a factor below 1 rounds the smallest numbers away.
    smallest = 0.0 if dtype == "bfloat16" else 1.0
    powers_of_two = all(
        f == 0 or (abs(math.frexp(f)[0]) == 0.5 and abs(f) >= smallest) for f in factors
    )
    extras = any(part not in "ab" for parts in three.task.layout.modules.values() for part in parts)
    return dtype if powers_of_two and not extras else "float32"
