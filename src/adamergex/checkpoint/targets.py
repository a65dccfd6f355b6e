"""Which modules PEFT puts an adapter on: those that its config says, whatever tensors it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from adamergex.checkpoint.config import Ia3Config, PrefixConfig
from adamergex.checkpoint.parts import model_module
from adamergex.checkpoint.patterns import MOST_WAYS, checked_pattern, ways_among
from adamergex.checkpoint.reader import Checkpoint

__all__ = ["named_targets", "targets"]

_SHORTHAND = "all-linear"
"""PEFT's word for all linear layers but the head, which depends on the model."""
_FEWER = ("exclude_modules", "layers_pattern", "layers_to_transform")
"""Fields by which an adapter is on fewer modules than target_modules has."""


def targets(checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of a config that must change for PEFT to load all tensors of the adapter.

    It leaves out those of modules that the config does not lead to. Where it is not known to lead
    to all of them, they are named one by one.
    """
    config = checkpoint.config
    if isinstance(config, PrefixConfig):
        return {}
    names = _names(checkpoint)
    fewer = any(config.stated.get(field) not in (None, [], "") for field in _FEWER)
    found = not fewer and all(map(_rule(config.target_modules, names), names))
    if found and isinstance(config, Ia3Config):
        feedforward = _feedforward(checkpoint)
        is_one = _rule(config.feedforward_modules, names, parts=False)
        found = all(bool(is_one(name)) == (name in feedforward) for name in names)
    return {} if found else named_targets(checkpoint)


def named_targets(checkpoint: Checkpoint) -> dict[str, Any]:
    """Those fields with every module by its name."""
    config = checkpoint.config
    fields: dict[str, Any] = {"target_modules": _names(checkpoint)}
    if isinstance(config, Ia3Config):
        fields["feedforward_modules"] = sorted(_feedforward(checkpoint))
    return fields | {field: None for field in _FEWER if field in config.stated}


def _names(checkpoint: Checkpoint) -> list[str]:
    return sorted(map(model_module, checkpoint.layout.modules))


def _feedforward(checkpoint: Checkpoint) -> set[str]:
    """Modules whose (IA)³ vector is for what goes in: (1, in), where others have (out, 1)."""
    modules = checkpoint.layout.modules
    return {model_module(name) for name in modules if checkpoint.shape(name, "vector")[0] == 1}


def _rule(
    given: list[str] | str | None, names: Sequence[str], *, parts: bool = True
) -> Callable[[str], object]:
    """PEFT's rule for a field of modules, as a test of a name.

    A pattern of which it is not known what it costs to try is taken to lead nowhere.

    Args:
        given: A pattern of the whole name, or names that it ends with.
        names: What will be tested.
        parts: Whether it has to end with whole parts, between dots.
    """
    if isinstance(given, str):
        known = given != _SHORTHAND and _is_cheap(given, names)
        return re.compile(given).fullmatch if known else lambda _: None
    wanted = set(given or ())
    if parts:
        return lambda name: any(end in wanted for end in _ends(name))
    return lambda name: name.endswith(tuple(wanted))


def _ends(name: str) -> Iterator[str]:
    """What is behind each of the name's dots, from the last one on, and the name."""
    dot = len(name)
    while (dot := name.rfind(".", 0, dot)) >= 0:
        yield name[dot + 1 :]
    yield name


def _is_cheap(pattern: str, names: Sequence[str]) -> bool:
    try:
        checked_pattern(pattern)
    except ValueError:
        return False
    return ways_among([pattern], names) <= MOST_WAYS
