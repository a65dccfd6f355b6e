"""Which part of which module's adapter a tensor is, by its name in PEFT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

__all__ = ["Part", "layer_of", "model_module", "part_of", "saved_module"]

_LAYER = r"(?:^|\.)(?:layers|layer|h|block|blocks)\.(\d+)(?:\.|$)"
_PREFIX = "base_model.model."
_WITH_LEAF: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("lora_A", "weight"): "a",
        ("lora_B", "weight"): "b",
        ("lora_B", "bias"): "bias",
        ("lora_magnitude_vector", "weight"): "magnitude",
    }
)
_WITHOUT_LEAF: Mapping[str, str] = MappingProxyType(
    {
        "lora_embedding_A": "a",
        "lora_embedding_B": "b",
        "lora_magnitude_vector": "magnitude",
        "ia3_l": "vector",
    }
)


Part: TypeAlias = tuple[str, str, str, str | None]
"""Of one tensor: the module, with PEFT's prefix; a, b, bias, magnitude or vector; the tensor's name
as PEFT writes it; the adapter's own name, where the tensor's had it, `default` for instance."""


def part_of(name: str) -> Part | None:
    """What a tensor of that name is; None where it is no part of an adapter.

    PEFT leaves the adapter's own name out when it saves; a model's own state has it:
    `lora_A.default.weight`, `ia3_l.default`.
    """
    head, _, leaf = name.rpartition(".")
    module, _, kind = head.rpartition(".")
    part = _WITH_LEAF.get((kind, leaf))
    if part is not None:
        return (module, part, name, None) if module else None
    if leaf in _WITHOUT_LEAF:
        return (head, _WITHOUT_LEAF[leaf], name, None) if head else None
    if kind in _WITHOUT_LEAF:
        return (module, _WITHOUT_LEAF[kind], head, leaf) if module else None
    # What is called `kind` above may be the adapter.
    module, _, above = module.rpartition(".")
    part = _WITH_LEAF.get((above, leaf))
    if part is None or not module:
        return None
    # PEFT writes a magnitude without `.weight`, and loads it with it too.
    tail = "" if part == "magnitude" else f".{leaf}"
    return module, part, f"{module}.{above}{tail}", kind


def saved_module(name: str) -> tuple[str, str | None]:
    """A name without what PEFT puts around a module that is saved whole, and the adapter's name.

    `score.modules_to_save.default.weight` is `score.weight` of the adapter `default`;
    `score.original_module.weight` is the base model's, of no adapter.
    """
    before, inside, behind = name.partition(".modules_to_save.")
    adapter, dot, rest = behind.partition(".")
    if inside and dot:
        return f"{before}.{rest}", adapter
    return name.replace(".original_module.", ".", 1), None


def model_module(module: str) -> str:
    """The module's name inside the base model, as PEFT's patterns see it."""
    return module.removeprefix(_PREFIX)


def layer_of(module: str) -> int | None:
    """The number of the transformer layer that a module is in; None outside the layers."""
    match = re.search(_LAYER, module)
    return int(match[1]) if match else None
