"""A recipe read from YAML; what is wrong in it, said by its path in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from adamergex.errors import InputError
from adamergex.recipe.bases import PlacedModelKwargs
from adamergex.recipe.plain_yaml import parsed_yaml, read_yaml
from adamergex.recipe.schema import Recipe

__all__ = ["demo_recipe", "load_recipe", "placed_model_kwargs", "recipe_from"]


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file.

    Args:
        path: The file. Relative paths in it start from its folder.
        changes: `a.b=value` each, the value in YAML: what is different from the file.

    Raises:
        InputError: The file, the key and what was needed there.
    """
    return _recipe(read_yaml(path, "a recipe"), path, path.resolve().parent, changes)


def demo_recipe(changes: Sequence[str] = ()) -> Recipe:
    """The recipe of the demo."""
    file = files("adamergex.recipe") / "demo.yaml"
    return recipe_from(file.read_text(encoding="utf-8"), "demo.yaml", Path.cwd(), changes)


def recipe_from(text: str, name: object, folder: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe that `text` is. Arguments and errors as in load_recipe."""
    content = parsed_yaml(text, name)
    if not isinstance(content, dict):
        raise InputError(name, found=type(content).__name__, needed="a mapping")
    return _recipe(content, name, folder, changes)


def placed_model_kwargs(given: Mapping[str, Any], name: object) -> PlacedModelKwargs:
    """How a base model is loaded, from names and values; errors are about `name`."""
    try:
        return PlacedModelKwargs.model_validate(given)
    except ValidationError as error:
        raise _explained(error, name, PlacedModelKwargs) from None


def _recipe(content: dict[str, Any], name: object, folder: Path, changes: Sequence[str]) -> Recipe:
    own = _methods(content)
    # Methods first: what the file says of one that is left out by that is left out with it.
    ordered = sorted(changes, key=lambda change: not change.startswith("methods"))
    for change in ordered:
        _change(content, change)
        if change.startswith("methods"):
            _forget(content, own - _methods(content))
    if "folder" in content:
        raise InputError(name, "folder", found="a key that there is not", needed="no such key")
    try:
        recipe = Recipe.model_validate({**content, "folder": folder})
    except ValidationError as error:
        raise _explained(error, name) from None
    _check_per_step(recipe, name)
    return recipe


def _methods(content: Mapping[str, Any]) -> set[str]:
    listed = content.get("methods")
    return {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()


def _forget(content: Mapping[str, Any], methods: Iterable[str]) -> None:
    """Takes what `training.per_step` says of them out, in place."""
    training = content.get("training")
    per_step = training.get("per_step") if isinstance(training, dict) else None
    if isinstance(per_step, dict):
        for method in methods:
            per_step.pop(method, None)


def _check_per_step(recipe: Recipe, name: object) -> None:
    """Settings of a method that is not compared would do nothing, without a word."""
    per_step = recipe.training.per_step
    names = {key: field.alias or key for key, field in type(per_step).model_fields.items()}
    used = {"task", *recipe.methods}
    used |= {"projection-from-t"} if "ensemble" in used else set()
    for key in sorted(per_step.model_fields_set):
        if names[key] not in used:
            near = difflib.get_close_matches(names[key], used.intersection(names.values()), n=1)
            needed = f"{near[0]}? or {names[key]} among methods" if near else "it among methods"
            where = f"training.per_step.{names[key]}"
            raise InputError(name, where, found="no method of this recipe", needed=needed)


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
        place[_index(place, last, change)] = parsed_yaml(value, "--set")
    elif isinstance(place, dict):
        place[last] = parsed_yaml(value, "--set")
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


def _explained(error: ValidationError, name: object, model: Any = Recipe) -> InputError:
    """The first error, at its path in the file."""
    first = error.errors()[0]
    where = [part for part in first["loc"] if not _is_branch(part)]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in where).lstrip(".")
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(where[:-1], model))
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


def _keys_at(where: Iterable[Any], model: Any) -> set[str]:
    """The keys that a schema has at a path."""
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
