"""Weights saved whole beside an adapter: a task head, or embeddings that were resized or trained.

PEFT saves the heads that its config names, and embeddings of whatever name where it finds them
changed. The latter, and heads that a config does not name, are known by their place, outside the
layers, and by their shape: rows as wide as the model, or as another such weight is long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adamergex.checkpoint.config import AdapterConfig, LoraConfig
from adamergex.checkpoint.parts import layer_of

__all__ = ["found_whole", "is_named", "widths_of"]

_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "word_embeddings", "shared")
"""Known whatever their width: some models project narrower embeddings (ALBERT, OPT-350M)."""
_OTHER_PARTS = ("lora_", "ia3_", "modules_to_save", "original_module", "trainable_tokens_")

Shapes = Mapping[str, tuple[int, ...]]


def is_named(name: str, config: AdapterConfig) -> bool:
    """Whether a tensor is of a module that the config saves whole.

    PEFT saves every module whose full name ends in one of these.
    """
    return any(f"{kept}." in name for kept in config.saved_whole)


def widths_of(config: AdapterConfig, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> set[int]:
    """The widths of the model, as far as LoRA's factors tell; empty for other structures.

    Args:
        config: The adapter's config.
        shapes: Part (a, b ...) and shape of its tensors.
    """
    if not isinstance(config, LoraConfig):
        return set()
    axes = {"a": 1, "b": 0}
    return {shape[axes[part]] for part, shape in shapes if part in axes and len(shape) > axes[part]}


def found_whole(shapes: Shapes, modules: Iterable[str], widths: set[int]) -> set[str]:
    """Those tensors that are embeddings or heads by their name or their place and shape.

    Args:
        shapes: Name -> shape of the tensors that nothing else explains.
        modules: Those that the adapter is attached to; what is in numbered lists with them is no
            head.
        widths: The widths of the model; where there are none, any weight with rows will do.
    """
    lists = {each for module in modules for each in _numbered(module)}
    outside = {
        name: shape
        for name, shape in shapes.items()
        if layer_of(name) is None
        and lists.isdisjoint(_numbered(name))
        and not any(part.startswith(_OTHER_PARTS) for part in name.split("."))
    }
    waiting: dict[int, list[str]] = {}  # width -> weights
    found: dict[str, int] = {}  # module -> rows
    for name, shape in outside.items():
        if not name.endswith(".weight") or len(shape) != 2:
            continue
        if not widths or any(part in _EMBEDDINGS for part in name.split(".")):
            found[name.removesuffix(".weight")] = shape[0]
        else:
            waiting.setdefault(shape[1], []).append(name)
    reached = [*widths, *found.values()]
    while reached:  # the second layer of a head is as wide as the first is long
        for name in waiting.pop(reached.pop(), ()):
            found[name.removesuffix(".weight")] = rows = outside[name][0]
            reached.append(rows)
    biases = {f"{module}.bias": (rows,) for module, rows in found.items()}
    return {f"{module}.weight" for module in found} | {
        name for name, shape in biases.items() if outside.get(name) == shape
    }


def _numbered(name: str) -> list[str]:
    """The lists that a module is in, one in another: `model.layers` for `model.layers.3.mlp`."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i, part in enumerate(parts) if part.isdigit()]
