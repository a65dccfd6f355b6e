"""Adapters added with weights: any number of them, and any weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from adamergex.algebra import wide
from adamergex.checkpoint import (
    Checkpoint,
    Dtype,
    LoraConfig,
    NDArray,
    PrefixConfig,
    TensorInfo,
    open_checkpoint,
)
from adamergex.errors import InputError
from adamergex.merging.lora import sum_outline
from adamergex.merging.merged import Merged
from adamergex.merging.sums import summed
from adamergex.merging.three import check_pair
from adamergex.merging.units import Computed, Outline, Unit, kept, stored_dtype, wide_part

__all__ = ["combine", "combined", "tensor_outline"]

_FORMULAS = {
    "LORA": "W = {sum}, for the weight updates W",
    "IA3": "l - 1 = {sum}, for the vectors' distances from 1",
    "PREFIX_TUNING": "P = {sum}",
}


def combine(
    adapters: Sequence[Any],
    weights: Sequence[float],
    *,
    rank: int | Literal["exact"] = "exact",
    dtype: Dtype | Literal["auto"] = "auto",
    allow_pickle: bool = False,
    allow_different_base: bool = False,
    base_model: str | None = None,
) -> Merged:
    """Σ weight · adapter, whatever the ranks and scalings, negative weights too.

    LoRA: of the weight updates, exact or at a rank. (IA)³: of the vectors' distances from 1, where
    they do nothing, as AriMerge has it (arXiv 2306.14870). Prefixes: of the prefixes.

    Args:
        adapters: PEFT folders or Hub ids. The first gives the config and the weights saved whole.
        weights: One for each, any finite number.
        rank: For LoRA, `exact` or the rank to approximate at.
        dtype: What to store in; `auto` is the inputs' own, float32 where that would round.
        allow_pickle: Whether adapter_model.bin may be read.
        allow_different_base: Whether the adapters may name different base models.
        base_model: As for `merge`.

    Raises:
        InputError: Adapters that do not fit together; DoRA, whose magnitudes have no weighted sum;
            trained biases of the base, unless the weights add up to 1.
    """
    if not adapters or len(adapters) != len(weights):
        needed = f"{len(adapters)}, one for each adapter" if adapters else "at least one adapter"
        raise InputError("weights", found=len(weights), needed=needed)
    for weight in weights:
        if not math.isfinite(weight):
            raise InputError("weights", found=weight, needed="finite numbers")
    opened = [open_checkpoint(x, allow_pickle=allow_pickle) for x in adapters]
    for other in opened[1:]:
        check_pair(opened[0], other, allow_different_base=allow_different_base)
    roles = {f"adapter_{i}": x for i, x in enumerate(opened, 1)}
    by_role = dict(zip(roles, map(float, weights), strict=True))
    facts = {"weights": list(by_role.values())}
    return combined(roles, by_role, rank=rank, dtype=dtype, facts=facts, base_model=base_model)


def combined(
    roles: Mapping[str, Checkpoint],
    weights: Mapping[str, float],
    *,
    rule: str = "weighted",
    rank: int | Literal["exact"] = "exact",
    dtype: Dtype | Literal["auto"] = "auto",
    facts: Mapping[str, Any],
    base_model: str | None = None,
) -> Merged:
    """The weighted sum of opened adapters that fit together; see `combine`.

    Args:
        roles: Role -> adapter.
        weights: Role -> its weight.
        rule: What the manifest calls it.
        rank: As for `combine`.
        dtype: As for `combine`.
        facts: What else is said of it.
        base_model: As for `merge`.
    """
    first = next(iter(roles.values()))
    structure = first.config.peft_type
    terms = [(roles[role], weight) for role, weight in weights.items()]
    biases = _biases(terms, dtype)
    if isinstance(first.config, LoraConfig):
        _check_sum(first, first.config)
        outline = sum_outline(summed(terms), rule, rank, dtype, lambda m: _lora_bias(terms, m))
    else:
        if rank != "exact":
            raise InputError("rank", found=rank, needed=f"exact, for {structure}")
        outline = _tensors(rule, terms, dtype)
    total = " + ".join(f"{weight:g} {role}" for role, weight in weights.items())
    formula = _FORMULAS[structure].format(sum=total.replace("+ -", "- "))
    said = {"formula": formula, **facts}
    return Merged(roles, outline, [*biases, *kept(first)], said, base_model)


def _check_sum(first: Checkpoint, config: LoraConfig) -> None:
    magnitudes = any("magnitude" in parts for parts in first.layout.modules.values())
    if config.use_dora or magnitudes:
        needed = "plain LoRA: DoRA's magnitudes have no weighted sum"
        raise InputError(first.name, found="DoRA", needed=needed)


def _lora_bias(terms: Iterable[tuple[Checkpoint, float]], module: str) -> Computed:
    """B's bias, which PEFT scales with the product."""
    found = [(c, weight) for c, weight in terms if "bias" in c.layout.modules[module]]
    if not found:
        return Computed({})
    parts = [weight * c.scaling(module) * wide_part(c, module, "bias") for c, weight in found]
    total: NDArray = np.sum(parts, axis=0)
    return Computed({"bias": total})


def _biases(terms: Sequence[tuple[Checkpoint, float]], dtype: Any) -> list[Unit]:
    """Trained biases of the base: values, not changes, so that the base's share must stay 1."""
    first, total = terms[0][0], math.fsum(weight for _, weight in terms)
    if first.layout.biases and not math.isclose(total, 1.0, abs_tol=1e-9):
        needed = "weights that add up to 1: trained biases are values, not changes of the base's"
        raise InputError(first.name, "bias", found=f"weights of sum {total:g}", needed=needed)

    def unit(name: str) -> Unit:
        def compute() -> Computed:
            parts = [weight * wide(c.read(name)) for c, weight in terms]
            total: NDArray = np.sum(parts, axis=0)
            return Computed({name: total})

        stored = stored_dtype(c for c, _ in terms) if dtype == "auto" else dtype
        return Unit(name, {name: TensorInfo(first.tensors[name].shape, stored)}, compute)

    return [unit(name) for name in first.layout.biases]


def _tensors(
    rule: str, terms: Sequence[tuple[Checkpoint, float]], dtype: Dtype | Literal["auto"]
) -> Outline:
    """Vectors and prefixes, tensor by tensor, from where they do nothing."""
    checkpoints = [c for c, _ in terms]
    neutral = 1.0 if checkpoints[0].config.peft_type == "IA3" else 0.0

    def tensor(module: str, parts: Sequence[NDArray]) -> NDArray:  # noqa: ARG001 - others need it
        total = neutral + 0 * parts[0]
        for part, (_, weight) in zip(parts, terms, strict=True):
            total = total + weight * (part - neutral)
        return total

    stored = stored_dtype(checkpoints) if dtype == "auto" else dtype
    return tensor_outline(rule, checkpoints, stored, tensor)


def tensor_outline(
    space: str,
    checkpoints: Iterable[Checkpoint],
    dtype: Dtype,
    tensor: Callable[[str, Sequence[NDArray]], NDArray],
) -> Outline:
    """An outline of adapters whose modules hold one tensor each.

    Args:
        space: The space's name.
        checkpoints: The inputs; the first gives names and shapes.
        dtype: The stored dtype.
        tensor: Module and the inputs' tensors there, in float32 or better -> the result's.
    """
    inputs = list(checkpoints)
    task = inputs[0]

    def unit(module: str, part: str, name: str) -> Unit:
        def compute() -> Computed:
            return Computed({name: tensor(module, [wide_part(x, module, part) for x in inputs])})

        return Unit(module, {name: TensorInfo(task.shape(module, part), dtype)}, compute)

    modules = task.layout.modules.items()
    units = [unit(module, *part) for module, parts in modules for part in parts.items()]
    # PEFT stores the projected prefix, which needs no projection any more.
    changes = {"prefix_projection": False} if isinstance(task.config, PrefixConfig) else {}
    return Outline(space, dtype, units, changes)
