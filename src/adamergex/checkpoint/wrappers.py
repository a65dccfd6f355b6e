"""Tensor names without what was around the model when they were written.

PEFT finds a tensor by its whole name: `base_model.model.`, the module's place in the base model,
and the adapter's part. torch.compile, DDP, FSDP, DeepSpeed, Lightning and activation checkpoints
put names of their own in front or in between, and what is named so PEFT leaves out. Here they are
taken away where they can mean nothing else; any other name in front is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from adamergex.errors import InputError

__all__ = ["unwrapped"]

_PRIVATE = frozenset(
    # No model calls a part of its own so: they are wrappers wherever they stand.
    [
        "_checkpoint_wrapped_module",
        "_ddp_module",
        "_forward_module",
        "_fpw_module",
        "_fsdp_wrapped_module",
        "_orig_mod",
        "_original_module",
    ]
)
_MODULE = "module"
"""What DDP, DataParallel and DeepSpeed call the model; a few models have a part of that name."""
_ROOT = "base_model"
_OUTSIDE = ("prompt_embeddings", "prompt_encoder")
"""What prefix tuning has beside the base model."""
_ODD = ("._", f".{_MODULE}.", f".{_ROOT}.")
"""What a name that is PEFT's has not."""


def unwrapped(
    names: Iterable[str], prefix: str, file: object
) -> tuple[dict[str, str], list[str], set[str]]:
    """The names without wrappers, each beginning with PEFT's prefix.

    Args:
        names: Those in the file.
        prefix: What PEFT puts first: `base_model.model.`, or `base_model.` for prefix tuning.
        file: Where they are from, for the message.

    Raises:
        InputError: A name that has something else before PEFT's prefix, PEFT's prefix twice, or
            `module` inside.

    Returns:
        Name in the file -> as PEFT has it, but for the adapter's own name; what was changed, in
        words; those names in the file that have no prefix, where others have it.
    """
    found: dict[str, str] = {}
    removed: set[str] = set()
    bare: list[str] = []
    prefixed = False
    for name in names:
        if name.startswith(prefix) and not any(odd in name for odd in _ODD):
            found[name], prefixed = name, True
            continue
        parts, wrappers = _split(name)
        removed |= wrappers
        if parts[0] in _OUTSIDE:
            found[name] = ".".join(parts)
            continue
        if parts[0] != _ROOT:
            _check_bare(parts, name, prefix, file)
            bare.append(name)
            found[name] = prefix + ".".join(parts)
            continue
        inside, wrappers = _inside(parts, name, prefix, file)
        removed |= wrappers
        found[name], prefixed = prefix + ".".join(inside), True
    changes = [f"without {name}" for name in sorted(removed)]
    changes += [f"with {prefix} before them"] if bare else []
    return found, changes, set(bare if prefixed else ())


def _split(name: str) -> tuple[list[str], set[str]]:
    """The name's parts without private wrappers and without `module` in front; what was left out.

    Nothing is left out of a name that would have nothing left.
    """
    given = name.split(".")
    parts = [part for part in given if part not in _PRIVATE] or given
    while len(parts) > 1 and parts[0] == _MODULE:
        parts = parts[1:]
    return parts, {part for part in given if given.count(part) != parts.count(part)}


def _inside(parts: list[str], name: str, prefix: str, file: object) -> tuple[list[str], set[str]]:
    """What is behind PEFT's prefix; `module` is also taken away between its parts and behind it."""
    removed: set[str] = set()
    for wanted in prefix.split("."):
        while wanted != _ROOT and parts[:1] == [_MODULE]:
            removed.add(_MODULE)
            parts = parts[1:]
        if wanted and parts[:1] != [wanted]:
            raise InputError(file, "tensor", found=name, needed=f"{prefix} before the module")
        parts = parts[1:] if wanted else parts
    _check_inside(parts, name, file)
    return parts, removed


def _check_bare(parts: list[str], name: str, prefix: str, file: object) -> None:
    if _ROOT in parts:
        before = ".".join(parts[: parts.index(_ROOT)])
        needed = (
            f"{prefix} in front: move {before} behind it if the base model has that part, "
            f"or leave it out if it was around the model"
        )
        raise InputError(file, "tensor", found=name, needed=needed)
    if parts[:2] == ["model", "model"]:
        needed = f"{prefix} first: the first `model` may be PEFT's or the base model's"
        raise InputError(file, "tensor", found=name, needed=needed)
    _check_inside(parts, name, file)


def _check_inside(parts: list[str], name: str, file: object) -> None:
    if _ROOT in parts:
        needed = f"{_ROOT} once: it is from an adapter upon an adapter, which PEFT does not load"
        raise InputError(file, "tensor", found=name, needed=needed)
    if _MODULE in parts:
        needed = f"a name without {_MODULE} inside: it may be a wrapper's or the base model's own"
        raise InputError(file, "tensor", found=name, needed=needed)
