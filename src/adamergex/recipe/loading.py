"""A recipe read from YAML; what is wrong in it, said by its path in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from adamergex.errors import InputError
from adamergex.recipe.schema import Recipe

__all__ = ["demo_recipe", "load_recipe", "recipe_from"]

_LARGEST = 2**20


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file.

    Args:
        path: The file. Relative paths in it start from its folder.
        changes: `a.b=value` each, the value in YAML: what is different from the file.

    Raises:
        InputError: The file, the key and what was needed there.
    """
    if not path.is_file():
        raise InputError(path, found="no such file", needed="a recipe")
    if path.stat().st_size > _LARGEST:
        raise InputError(path, found=f"{path.stat().st_size} bytes", needed=f"at most {_LARGEST}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeError as error:
        raise InputError(path, found=str(error), needed="UTF-8") from None
    return recipe_from(text, path, path.resolve().parent, changes)


def demo_recipe(changes: Sequence[str] = ()) -> Recipe:
    """The recipe of the demo."""
    file = files("adamergex.recipe") / "demo.yaml"
    return recipe_from(file.read_text(encoding="utf-8"), "demo.yaml", Path.cwd(), changes)


def recipe_from(text: str, name: object, folder: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe that `text` is. Arguments and errors as in load_recipe."""
    content = _parsed(text, name)
    if not isinstance(content, dict):
        raise InputError(name, found=type(content).__name__, needed="a mapping")
    for change in changes:
        _change(content, change)
    if "folder" in content:
        raise InputError(name, "folder", found="a key that there is not", needed="no such key")
    try:
        return Recipe.model_validate({**content, "folder": folder})
    except ValidationError as error:
        raise _explained(error, name) from None


class _Loader(yaml.SafeLoader):
    """Plain data only; a key that stands twice is an error, an alias too: nothing can blow up."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "an alias (*name)", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _parsed(text: str, name: object) -> Any:
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = " ".join(str(error).split())
        raise InputError(name, found=found, needed="plain YAML, each key once") from None


def _change(content: dict[str, Any], change: str) -> None:
    """Sets `a.b=value` in place."""
    keys, equals, value = change.partition("=")
    if not equals or not keys:
        raise InputError(
            "--set", found=change, needed="key=value, as in training.learning_rate=1e-4"
        )
    *parents, last = keys.split(".")
    place: Any = content
    for key in parents:
        place = _entered(place, key, change)
    if isinstance(place, list):
        place[_index(place, last, change)] = _parsed(value, "--set")
    elif isinstance(place, dict):
        place[last] = _parsed(value, "--set")
    else:
        raise InputError("--set", found=change, needed="a key of a mapping")


def _entered(place: Any, key: str, change: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, change)]
    if isinstance(place, dict):
        return place.setdefault(key, {})
    raise InputError("--set", found=change, needed="a key of a mapping")


def _index(place: list[Any], key: str, change: str) -> int:
    if not key.isdigit() or int(key) >= len(place):
        raise InputError("--set", found=change, needed=f"an index below {len(place)}")
    return int(key)


def _explained(error: ValidationError, name: object) -> InputError:
    """The first error, at its path in the file."""
    first = error.errors()[0]
    where = [part for part in first["loc"] if not _is_branch(part)]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in where).lstrip(".")
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(where[:-1]))
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        hint = f"{near[0]}?" if near else "one of " + ", ".join(known)
        return InputError(name, field, found="a key that there is not", needed=hint)
    found = "nothing" if first["type"] == "missing" else first["input"]
    if isinstance(found, bool) and field.startswith(("source", "targets")):
        return InputError(name, field, found=found, needed='a code; "no" must be in quotes')
    needed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return InputError(name, *([field] if field else []), found=found, needed=needed)


def _is_branch(part: object) -> bool:
    """Whether pydantic put it in to say which type of a union it tried."""
    return isinstance(part, str) and (
        part in ("str", "float", "int", "constrained-str") or "[" in part
    )


def _keys_at(where: Iterable[Any]) -> set[str]:
    """The keys that the schema has at a path."""
    model: Any = Recipe
    for part in where:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
            model = _model_in(field.annotation) if field else model
    fields: Mapping[str, Any] = model.model_fields if hasattr(model, "model_fields") else {}
    return {field.alias or name for name, field in fields.items()} - {"folder"}


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a)) is not None), None)
