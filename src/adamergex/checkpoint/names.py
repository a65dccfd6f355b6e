"""PEFT's tensor names: which module and which part of the adapter a tensor belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from adamergex.checkpoint.config import AdapterConfig, LoraConfig
from adamergex.errors import InputError

__all__ = ["Layout", "checked_name", "laid_out", "layer_of", "model_module"]

_LONGEST = 256
"""Characters of a name: the longest that PEFT writes have about half as many."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PART = re.compile(
    r"(?P<module>.+)\."
    r"(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ia3_l)"
    r"(?:\.(?P<leaf>weight|bias))?"
)
_PARTS: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {
        ("lora_A", "weight"): "a",
        ("lora_B", "weight"): "b",
        ("lora_B", "bias"): "bias",
        ("lora_embedding_A", None): "a",
        ("lora_embedding_B", None): "b",
        ("lora_magnitude_vector", None): "magnitude",
        ("lora_magnitude_vector", "weight"): "magnitude",
        ("ia3_l", None): "vector",
    }
)
_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "word_embeddings", "shared")
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|block|blocks)\.(\d+)(?:\.|$)")


@dataclass(frozen=True)
class Layout:
    """A checkpoint's tensor names, sorted by what they are.

    Attributes:
        modules: Module -> part (a, b, bias, magnitude, vector, prefix) -> tensor name.
        biases: Names of base-model biases that were trained with the adapter.
        whole: Names of weights saved whole beside it (a task head, embeddings).
    """

    modules: Mapping[str, Mapping[str, str]]
    biases: tuple[str, ...]
    whole: tuple[str, ...]


def laid_out(names: Iterable[str], config: AdapterConfig, file: object) -> Layout:
    """The layout of a checkpoint with these tensor names.

    Raises:
        InputError: A name that is not safe to write, a tensor that the config does not explain, a
            module with a part missing or with a part of another structure.
    """
    modules: dict[str, dict[str, str]] = {}
    biases: list[str] = []
    whole: list[str] = []
    for name in sorted(names):
        checked_name(name, file)
        match = _PART.fullmatch(name)
        part = _PARTS.get((match["part"], match["leaf"])) if match else None
        if match and part:
            modules.setdefault(match["module"], {})[part] = name
        elif name == "prompt_embeddings":
            modules[name] = {"prefix": name}
        elif _is_head(name, config):
            whole.append(name)
        elif isinstance(config, LoraConfig) and config.bias != "none" and name.endswith(".bias"):
            biases.append(name)
        elif any(kept in name.split(".") for kept in _EMBEDDINGS):
            whole.append(name)
        else:
            needed = "an adapter's tensor, or a module named in modules_to_save"
            raise InputError(file, "tensor", found=name, needed=needed)
    needed_parts = _needed_parts(config)
    for module, parts in modules.items():
        if set(parts) != needed_parts:
            found = " and ".join(sorted(parts))
            raise InputError(file, module, found=found, needed=" and ".join(sorted(needed_parts)))
    if not modules:
        raise InputError(file, found="no adapter tensor", needed=f"{config.peft_type} tensors")
    return Layout(modules, tuple(biases), tuple(whole))


def checked_name(name: str, *subject: object) -> str:
    """`name`, if it is safe to write into a file or a path. Raises InputError if not."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name) or name.strip(".") == "":
        needed = f"only letters, digits, . _ and -, at most {_LONGEST} of them"
        raise InputError(*subject, "name", found=name, needed=needed)
    return name


def model_module(module: str) -> str:
    """The module's name inside the base model, as PEFT's patterns see it."""
    return module.removeprefix("base_model.model.")


def layer_of(module: str) -> int | None:
    """The number of the transformer layer that a module is in; None outside the layers."""
    match = _LAYER.search(module)
    return int(match[1]) if match else None


def _needed_parts(config: AdapterConfig) -> set[str]:
    if not isinstance(config, LoraConfig):
        return {"vector"} if config.peft_type == "IA3" else {"prefix"}
    optional = {"magnitude": config.use_dora, "bias": config.lora_bias}
    return {"a", "b", *(part for part, present in optional.items() if present)}


def _is_head(name: str, config: AdapterConfig) -> bool:
    # PEFT saves every module whose full name ends in one of these.
    return any(f"{kept}." in name for kept in config.saved_whole)
