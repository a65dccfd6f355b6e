"""What is learnt and measured, by name.

A data description is a small dictionary that can stand in a step's config:

    {"task": "emoji", "language": "fa", "split": "train"}            the target task
    {"task": "causal-lm", "language": "fa", "source": "en"}          a reference task
"""

from __future__ import annotations

from typing import TypedDict

from adamergex.errors import InputError
from adamergex.tasks import emoji
from adamergex.tasks.examples import Example, Item
from adamergex.tasks.reference import REFERENCES, reference_examples

__all__ = ["REFERENCES", "Data", "Example", "Item", "data", "examples", "items"]


class Data(TypedDict):
    """Which rows: a task, a language, a split; and the versions of what they come from."""

    task: str
    language: str
    source: str
    split: str
    versions: dict[str, str]


def data(task: str, language: str, *, split: str = "reference", source: str = "en") -> Data:
    """A data description; `source` is the language that a reference task translates into."""
    return Data(task=task, language=language, source=source, split=split, versions=emoji.sources())


def examples(wanted: Data, labels: list[int] | None = None) -> list[Example]:
    """Training rows; `labels` replaces the gold labels of the target task (projection)."""
    if wanted["task"] == "emoji":
        return emoji.examples(wanted["language"], wanted["split"], labels)
    lines, source_lines = (
        emoji.names(language, wanted["split"])
        for language in (wanted["language"], wanted["source"])
    )
    return reference_examples(wanted["task"], lines, source_lines)


def items(wanted: Data) -> list[Item]:
    """Items to score. Raises InputError for a task that has none."""
    if wanted["task"] != "emoji":
        raise InputError("task", found=wanted["task"], needed="emoji: a task with choices")
    return emoji.items(wanted["language"], wanted["split"])
