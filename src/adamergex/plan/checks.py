"""What is known to fail, said before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.methods import METHODS, Catalog
from adamergex.recipe import Recipe
from adamergex.tasks import REFERENCES, Data, Task

__all__ = ["check"]

_PLAIN_LORA = ("madx",)
_NO_EXTRAS = ("arimerge", "add-reference", "layer-swapping", "language-task-arithmetic", "madx")
_EXTRAS = ("use_dora", "lora_bias")


def check(recipe: Recipe) -> None:
    """Raises InputError for a recipe that could not be carried out to the end.

    Or that would choose by test items: dev and test of a target language share no row of a file.
    """
    for name in recipe.methods:
        if name not in METHODS:
            raise InputError("methods", found=name, needed=" or ".join(METHODS))
    catalog = Catalog.of(recipe)
    tasks = [catalog.task(name) for name in recipe.tasks]
    twice = [name for name, count in Counter(task.name for task in tasks).items() if count > 1]
    if twice:
        raise InputError("tasks", found=f"{twice[0]} twice", needed="names that differ")
    _check_data_files(recipe, tasks)
    _check_methods(recipe)
    for task in tasks:
        if recipe.scale.select == "unlabelled" and task.free_text:
            needed = f"dev or fixed: answers to {task.name} in free text have no likelihood"
            raise InputError("scale", "select", found="unlabelled", needed=needed)
        for target in recipe.targets:
            _check_apart(catalog, task, target)


def _check_data_files(recipe: Recipe, tasks: list[Task]) -> None:
    """A name that nothing reads would leave the Hub's data in use without a word."""
    read = {task.name for task in tasks}
    read |= {Path(r.task).stem for r in recipe.reference if r.task not in REFERENCES}
    for name in recipe.data_files:
        if name not in read:
            raise InputError("data_files", found=name, needed=" or ".join(sorted(read)))


def _check_methods(recipe: Recipe) -> None:
    fields = recipe.adapter.fields
    extras = [name for name in _EXTRAS if fields.get(name)]
    for method in recipe.methods:
        if method in _PLAIN_LORA and fields["type"] != "lora":
            raise InputError("adapter", "type", found=fields["type"], needed=f"lora, for {method}")
        if method in _NO_EXTRAS and extras:
            raise InputError("adapter", extras[0], found=True, needed=f"false, for {method}")
    outside = [t for t in recipe.scale.grid if not 0 <= t <= 1]
    if "layer-swapping" in recipe.methods and outside:
        needed = "0 to 1, a share of the layers, for layer-swapping"
        raise InputError("scale", "grid", found=outside[0], needed=needed)


def _check_apart(catalog: Catalog, task: Task, target: str) -> None:
    found = [catalog.find(task, target, split) for split in ("dev", "test")]
    dev, test = (_source(data) for data in found)
    if "file" in dev and dev["file"] == test.get("file") and _overlap(dev, test):
        raise InputError(
            "data_files", f"{task.name}, {target}", found="dev and test with rows in common",
            needed="rows a to b of a file in one of them, others in the other: path[a:b]",
        )  # fmt: skip


def _source(data: Data | None) -> Mapping[str, Any]:
    return data.config["source"] if data is not None else dict[str, Any]()


def _overlap(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    (a, b), (c, d) = (source.get("part") or (None, None) for source in (one, two))
    return (b is None or (c or 0) < b) and (d is None or (a or 0) < d)
