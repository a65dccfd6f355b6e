"""What a base model is called where others are to find it: an id on the Hub, never a place here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamergex.checkpoint.hub import is_repository
from adamergex.errors import InputError

__all__ = ["BUILTIN", "base_fields", "hub_base", "is_builtin", "known_base", "notice_of_base"]

BUILTIN = "builtin:gemma-3-270m"
"""The model that comes with `adamergex[demo]`."""
_BUILTIN_ON_HUB = "google/gemma-3-270m"
_BUILTIN_COPY = r"gemma-3-270m-[0-9a-f]{16}"
"""The name of its folder in the cache, see models.builtin."""


def is_builtin(base: str | None) -> bool:
    """Whether that is the built-in model, by its own name or as its copy in a cache."""
    last = re.split(r"[/\\]", base or "")[-1]
    return base == BUILTIN or (last != base and re.fullmatch(_BUILTIN_COPY, last) is not None)


def known_base(base: str | None) -> str | None:
    """The name that others know a base by, where it has one; else `base` as it is."""
    return _BUILTIN_ON_HUB if is_builtin(base) else base


def hub_base(base: str | None) -> str | None:
    """`base` if it can only be an id on the Hub, org/name or name; None where it may be a place.

    `models/gemma` is an id by its looks: where there is such a path here, it is that path.
    """
    base = known_base(base)
    found = base is not None and is_repository(base) and not Path(base).exists()
    return base if found else None


def base_fields(base: str | None) -> dict[str, Any]:
    """The fields of adapter_config.json that `base`, NAME or NAME@REVISION, sets; none for None.

    Raises:
        InputError: An empty name, or one that does not fit in a line.
    """
    if base is None:
        return {}
    if not base.strip() or not base.isprintable():
        raise InputError(
            "--base-model", found=base, needed="a name: org/name, or org/name@revision"
        )
    name, _, revision = base.partition("@")
    if not is_repository(name):
        name, revision = base, ""
    return {"base_model_name_or_path": known_base(name), "revision": revision or None}


def notice_of_base(config: Mapping[str, Any]) -> str | None:
    """What is to be said of an adapter's base that others will not find; None where they will."""
    base = config.get("base_model_name_or_path")
    if base is None or hub_base(base) is not None:
        return None
    return (
        f"base model {base} is a place on this machine, which nobody else finds; "
        "name the model on the Hub with --base-model"
    )
