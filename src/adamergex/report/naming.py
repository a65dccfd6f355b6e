"""What the row to deploy is called: AdaMergeX, or what its reference learnt from T."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamergex.report.fields import one_line
from adamergex.report.reading import Results, Row
from adamergex.tasks import DISTILLATION, FROM_T

__all__ = ["told_name"]


def told_name(results: Results, row: Row) -> str:
    """AdaMergeX only where the reference knows nothing of the task (docs/methods.md)."""
    if row.method != "adamergex":
        return row.method
    learnt = _learnt_from_t(results.recipe.get("reference"))
    chosen = [row.variant, *(run.setting or "" for run in row.runs)]
    named = (learnt.get(text.partition(",")[0]) for text in chosen)
    return one_line(next(filter(None, named), "AdaMergeX"))


def _learnt_from_t(given: Any) -> dict[str, str]:
    """The recipe's references that learn from T: what each is called -> the reference task."""
    found: dict[str, str] = {}
    for reference in given if isinstance(given, list | tuple) else [given]:
        if isinstance(reference, Mapping):
            task = str(reference.get("task", DISTILLATION))
            if task in FROM_T:
                found[str(reference.get("name") or task)] = task
    return found
