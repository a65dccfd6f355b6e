"""What is measured on was not learnt, nor chosen by: compared by content, in all languages."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adamergex.errors import InputError
from adamergex.recipe import Recipe
from adamergex.step import Step, in_order
from adamergex.tasks import texts_of

__all__ = ["check_leaks"]

_LEARNING = ("train", "train-sparse", "teach", "distil")
_MOST = 0.01
"""Of test items, those that other data may have too: by chance, as short texts do."""


def check_leaks(recipe: Recipe, last: Step) -> None:
    """Looks for test items in what is trained on, and chosen by: before any of it is done.

    Test in the source language counts too, where the recipe measures it: text that is parallel to
    test items in a target language is mostly found there.

    Args:
        recipe: The recipe.
        last: Its step `results`.

    Raises:
        InputError: More than 1 in 100 test items of a language are in training rows, reference
            text or dev rows of the same task, and `recipe.leaks` is not `tell`. Others are told
            on the log.
    """
    for tests in _by_task(last).values():
        asked = {_name(step.config["data"]): step for step in tests}
        rows = {name: _texts(step) for name, step in asked.items()}
        for step, role in _seen(tests):
            known = {text for row in _texts(step) for text in row}
            for name, test in asked.items():
                shared = [row[0] for row in rows[name] if known.intersection(row)]
                if shared:
                    found = f"{len(shared)} of {len(rows[name])} also in {role} ({step.label})"
                    most = _MOST * len(rows[name]) if recipe.leaks == "refuse" else len(shared)
                    _judge(test, f"{found}, as {shared[0][:80]!r}", refused=len(shared) > most)


def _judge(test: Step, found: str, *, refused: bool) -> None:
    if refused:
        needed = f"at most {_MOST:.0%}: take them out of one, or leaks: tell"
        raise InputError(test.label, "test items", found=found, needed=needed)
    logging.getLogger("adamergex").warning("adamergex: %s: test items: %s", test.label, found)


def _by_task(last: Step) -> dict[str, list[Step]]:
    """The scorings on test items of each task, the source language's among them."""
    found: dict[str, list[Step]] = {}
    for role, step in last.inputs.items():
        kind, _, key = role.partition(".")
        if kind in ("test", "source"):
            found.setdefault(key.rpartition(".")[0], []).append(step)
    return found


def _seen(tests: Iterable[Step]) -> Iterator[tuple[Step, str]]:
    """The steps below that read what tests must not have, each description once."""
    below = in_order(tests)
    dev = {
        step
        for choice in below
        if choice.kind == "select"
        for role, step in choice.inputs.items()
        if role.startswith("dev.")
    }
    described: set[str] = set()
    for step in below:
        if step.kind in _LEARNING or step in dev:
            name = _name(step.config["data"])
            if name not in described:
                described.add(name)
                yield step, "what is chosen by" if step in dev else "what is learnt from"


def _texts(step: Step) -> list[list[str]]:
    """Without what does not tell texts apart: spaces and capitals."""
    found = texts_of(step.config["data"], step.files)
    return [[" ".join(text.split()).casefold() for text in row] for row in found]


def _name(description: Mapping[str, Any]) -> str:
    return json.dumps(description, sort_keys=True)
