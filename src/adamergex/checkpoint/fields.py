"""What each field of an adapter's config may hold.

Tests of plain values: a library for it takes longer to load than three small adapters to merge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from adamergex.checkpoint.patterns import LONGEST_NAME, MOST_PATTERNS

__all__ = ["BY_PATTERN", "KINDS"]

_LONGEST_REGEX = 4096


class _Kind(NamedTuple):
    """What a field may hold: in words, and as a test of a value that JSON gave."""

    needed: str
    fits: Callable[[Any], bool]


def _is_text(x: Any) -> bool:
    return isinstance(x, str)


def _is_flag(x: Any) -> bool:
    return isinstance(x, bool)


def _is_count(x: Any) -> bool:
    return type(x) is int and 0 < x < 2**31


def _is_number(x: Any) -> bool:
    # JSON has integers of any length, too long for a float. NaN is less than nothing.
    return type(x) in (int, float) and abs(x) < 2**63


def _one_of(*values: Any) -> _Kind:
    def fits(x: Any) -> bool:
        return any(type(x) is type(value) and x == value for value in values)

    return _Kind(" or ".join(json.dumps(value) for value in values), fits)


def _or_null(kind: _Kind) -> _Kind:
    def fits(x: Any) -> bool:
        return x is None or kind.fits(x)

    return _Kind(f"{kind.needed}; or null", fits)


def _names(most: int) -> _Kind:
    def fits(x: Any) -> bool:
        names = cast(list[Any], x) if isinstance(x, list) else [None]
        short = (isinstance(name, str) and len(name) <= LONGEST_NAME for name in names)
        return len(names) <= most and all(short)

    return _Kind(f"at most {most} names of at most {LONGEST_NAME} characters", fits)


def _are_few(x: Any) -> bool:
    return isinstance(x, dict) and len(cast(dict[str, Any], x)) <= MOST_PATTERNS


def _modules() -> _Kind:
    names = _names(2**17)

    def fits(x: Any) -> bool:
        return names.fits(x) or (isinstance(x, str) and len(x) <= _LONGEST_REGEX)

    regex = f"a regular expression of at most {_LONGEST_REGEX}"
    return _Kind(f"{names.needed}, or {regex}", fits)


_TEXT = _or_null(_Kind("a text", _is_text))
_FLAG = _Kind("true or false", _is_flag)
_COUNT = _Kind("a whole number from 1 on", _is_count)
_NUMBER = _Kind("a finite number", _is_number)
_MODULES = _or_null(_modules())
_PATTERNS = _or_null(_Kind(f"an object of at most {MOST_PATTERNS} patterns", _are_few))

BY_PATTERN: Mapping[str, _Kind] = {"rank_pattern": _COUNT, "alpha_pattern": _NUMBER}
"""Field -> what each of its patterns may give."""

KINDS: Mapping[str, _Kind] = {
    "peft_type": _one_of("LORA", "IA3", "PREFIX_TUNING"),
    "base_model_name_or_path": _TEXT,
    "revision": _TEXT,
    "task_type": _TEXT,
    "modules_to_save": _or_null(_names(256)),
    "target_modules": _MODULES,
    "r": _COUNT,
    "lora_alpha": _NUMBER,
    "use_rslora": _FLAG,
    "use_dora": _FLAG,
    "lora_bias": _FLAG,
    "bias": _one_of("none", "all", "lora_only"),
    "fan_in_fan_out": _FLAG,
    "rank_pattern": _PATTERNS,
    "alpha_pattern": _PATTERNS,
    # Other initialisations (PiSSA, OLoRA, LoftQ, CorDA ...) change the base weights: the adapter
    # alone is not the update, and a merged one of another rank would be paired with a wrong base.
    "init_lora_weights": _one_of("gaussian", "eva", "orthogonal", True, False, None),
    "feedforward_modules": _MODULES,
    "num_virtual_tokens": _COUNT,
    "num_layers": _COUNT,
}
"""Field -> what it may hold, in a config whose class has it."""
