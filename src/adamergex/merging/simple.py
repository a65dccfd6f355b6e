"""Merging checkpoints whose modules hold one tensor each: (IA)³ and prefix tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from adamergex.algebra import STRUCTURES, Multiplicative, transferred
from adamergex.checkpoint import Checkpoint, NDArray, PrefixConfig, TensorInfo
from adamergex.merging.options import MergeOptions
from adamergex.merging.three import Three
from adamergex.merging.units import Computed, Outline, Unit, stored_dtype, wide_part

__all__ = ["ia3_outline", "prefix_matrices", "prefix_outline"]


def ia3_outline(three: Three, options: MergeOptions) -> Outline:
    """How three (IA)³ adapters merge: vector by vector."""
    rule = STRUCTURES["IA3", options.ia3]
    assert isinstance(rule, Multiplicative)

    def merged(t: NDArray, rt: NDArray, rs: NDArray) -> tuple[NDArray, int]:
        ratio = rule.difference(rt, rs)
        return rule.applied(rule.scaled(ratio, options.scale), t), ratio.guarded

    return _outline(three, options, options.ia3, merged)


def prefix_outline(three: Three, options: MergeOptions) -> Outline:
    """How three prefixes merge: one matrix for each layer's keys and one for its values."""
    config = three.task.config
    assert isinstance(config, PrefixConfig)
    # Of the way from T to Rt the pseudo-inverse keeps only what lies in the row space of Rs.
    space = "additive" if _equal(three.task, three.reference_source) else "pseudo-inverse"
    rule = STRUCTURES["PREFIX_TUNING", space]

    def merged(*stored: NDArray) -> tuple[NDArray, int]:
        # Float64 costs nothing at this size, and the pseudo-inverse is ill-conditioned.
        t, rt, rs = (prefix_matrices(x.astype(np.float64), config.num_layers) for x in stored)
        result = transferred(
            rule, task=t, reference_target=rt, reference_source=rs, scale=options.scale
        )
        return result.transpose(1, 0, 2).reshape(stored[0].shape), 0

    # PEFT stores the projected prefix, which needs no projection any more.
    return _outline(three, options, space, merged, {"prefix_projection": False})


def _equal(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether every part of every module is the same in both."""
    return all(
        np.array_equal(one.part(module, part), other.part(module, part))
        for module, parts in one.layout.modules.items()
        for part in parts
    )


def prefix_matrices(stored: NDArray, layers: int) -> NDArray:
    """PEFT's (tokens, layers 2 dim) as (2 layers, tokens, dim): keys then values of each layer."""
    return stored.reshape(stored.shape[0], 2 * layers, -1).transpose(1, 0, 2)


def _outline(
    three: Three,
    options: MergeOptions,
    space: str,
    merged: Callable[..., tuple[NDArray, int]],
    changes: Mapping[str, object] | None = None,
) -> Outline:
    dtype = stored_dtype(three) if options.dtype == "auto" else options.dtype

    def unit(module: str, part: str, name: str) -> Unit:
        def compute() -> Computed:
            value, guarded = merged(*(wide_part(c, module, part) for c in three))
            return Computed({name: value}, guarded=guarded)

        return Unit(module, {name: TensorInfo(three.task.shape(module, part), dtype)}, compute)

    modules = three.task.layout.modules.items()
    units = [unit(module, *part) for module, parts in modules for part in parts.items()]
    return Outline(space, dtype, units, changes or {})
