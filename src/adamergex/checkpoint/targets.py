"""Which modules PEFT puts an adapter on: the config's, whatever tensors there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from adamergex.checkpoint.config import AdapterConfig, PrefixConfig
from adamergex.checkpoint.parts import model_module
from adamergex.checkpoint.patterns import checked_pattern, ways

__all__ = ["targets"]

_MOST_WAYS = 10**9
_SHORTHAND = "all-linear"
"""PEFT's word for all linear layers but the head, which depends on the model."""


def targets(config: AdapterConfig, modules: Iterable[str]) -> dict[str, Any]:
    """The fields of a config that must change for PEFT to load these modules' tensors.

    It attaches an adapter to the modules that the config names, and leaves out the tensors of all
    others. Where that is not known to be all of these, they are named one by one.

    Args:
        config: The config.
        modules: Modules, with PEFT's prefix.
    """
    if isinstance(config, PrefixConfig):
        return {}
    names = sorted(map(model_module, modules))
    fewer = (config.stated.get(field) for field in ("exclude_modules", "layers_to_transform"))
    if all(value in (None, [], "") for value in fewer) and _lead_to(config.target_modules, names):
        return {}
    fields = ("exclude_modules", "layers_pattern", "layers_to_transform")
    return {"target_modules": names, **dict.fromkeys(fields)}


def _lead_to(target: list[str] | str | None, names: Sequence[str]) -> bool:
    """Whether PEFT's rule for target_modules is known to find all of these modules."""
    if isinstance(target, str):
        return target != _SHORTHAND and _matches_all(target, names)
    wanted = set(target or ())
    return all(any(end in wanted for end in _ends(name)) for name in names)


def _ends(name: str) -> Iterable[str]:
    """The name, and what is behind each of its dots."""
    parts = name.split(".")
    return (".".join(parts[i:]) for i in range(len(parts)))


def _matches_all(pattern: str, names: Sequence[str]) -> bool:
    try:
        checked_pattern(pattern)
    except ValueError:
        return False
    length, parts = max(map(len, names)), max(name.count(".") + 1 for name in names)
    if len(names) * ways(pattern, length, parts) > _MOST_WAYS:
        return False
    compiled = re.compile(pattern)
    return all(compiled.fullmatch(name) for name in names)
