"""What is done to the rows of a task before they are asked: `process_docs` without Python."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from adamergex.errors import InputError
from adamergex.tasks.row import Row
from adamergex.tasks.sandbox import Sandbox

__all__ = ["STEPS", "prepared"]

STEPS = ("keep", "parse")
"""`keep`: the template that says True of a row that stays. `parse`: columns of Python literals."""


def prepared(task: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of a task that are asked, as its templates want them.

    Args:
        task: Its config: `process_docs`, see STEPS.
        rows: Those of its data set.

    Raises:
        InputError: A row that cannot be read so; none that stays.
    """
    how = task.get("process_docs") or {}
    own = [row if isinstance(row, Row) else Row(row, None, i) for i, row in enumerate(rows)]
    if not how:
        return own
    name = str(task["task"])
    keep = how.get("keep")
    template = Sandbox(undefined=jinja2.StrictUndefined).from_string(keep) if keep else None
    made: list[Row] = []
    for row in own:
        if row.fault is not None:
            made.append(row)
            continue
        try:
            if template is not None and template.render(**row).strip() != "True":
                continue
            columns = {column: _value(row[column]) for column in how.get("parse", ())}
        except Exception as error:  # of a template, of a text that is no literal, of no such column
            found = f"{type(error).__name__}: {error}"
            needed = f"a row as the task's process_docs wants it: {how}"
            raise row.error(found=found, needed=needed, task=name) from None
        made.append(row.holding({**row, **columns}))
    if not made:
        needed = f"some for which it is True: {keep}"
        raise InputError(name, "rows", found=f"none of {len(rows)}", needed=needed)
    return made


def _value(cell: Any) -> Any:
    return ast.literal_eval(cell) if isinstance(cell, str) else cell
