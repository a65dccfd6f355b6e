"""Rows as other programs read them: JSON without what only Python has, and Arrow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adamergex.tasks.docs import Doc
from adamergex.tasks.row import Number

__all__ = ["asked_columns", "plain_rows", "write_asked"]

_ASKED = {
    "description": "asked_description",
    "doc_to_text": "asked_text",
    "gen_prefix": "asked_prefix",
    "doc_to_choice": "asked_choices",
    "doc_to_target": "asked_answer",
}
"""Keys of a task, and the columns that hold what comes of them."""
_LARGEST = 2**63
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")


def plain_rows(docs: Sequence[Doc]) -> list[dict[str, Any]]:
    """The rows themselves, as JSON has them.

    A column of csv that has whole numbers only is one of numbers; other numbers that are written
    otherwise than Python would are texts; what is no text at all is null.
    """
    whole = {name for doc in docs[:1] if not doc.typed for name in doc}
    for doc in docs:
        whole = {name for name in whole if _is_whole(doc.get(name))}
    return [
        {name: int(value) if name in whole else _plain(value) for name, value in doc.items()}
        for doc in docs
    ]


def asked_columns(config: Mapping[str, Any]) -> dict[str, str]:
    """The task's keys over rows as write_asked writes them: the names of columns."""
    return {key: column for key, column in _ASKED.items() if config.get(key) is not None}


def write_asked(docs: Mapping[str, Sequence[Doc]], places: Mapping[str, Path]) -> None:
    """Writes rows with what comes of the task's templates, and what Arrow can hold of the rest.

    Args:
        docs: Split -> its docs. All splits have the same columns, of the same types.
        places: Split -> the parquet file.
    """
    import pyarrow
    from pyarrow import parquet

    every = [doc for part in docs.values() for doc in part]
    rows = [row for part in docs.values() for row in plain_rows(part)]
    text, several = pyarrow.string(), any(isinstance(doc.target, list) for doc in every)
    made: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            column = pyarrow.array([row.get(name) for row in rows])
        except (pyarrow.ArrowException, OverflowError, TypeError):  # of several types
            continue
        if _storable(column.type):
            made[name] = column
    made |= {
        "asked_description": pyarrow.array([doc.description for doc in every], text),
        "asked_text": pyarrow.array([doc.text for doc in every], text),
        "asked_prefix": pyarrow.array([doc.prefix for doc in every], text),
        "asked_choices": pyarrow.array([doc.choices for doc in every], pyarrow.list_(text)),
        "asked_answer": pyarrow.array(
            [
                [doc.target] if several and isinstance(doc.target, str) else doc.target
                for doc in every
            ]
        ),
    }
    table, start = pyarrow.table(made), 0
    for split, part in docs.items():
        parquet.write_table(table.slice(start, len(part)), places[split])
        start += len(part)


def _storable(kind: Any) -> bool:
    """Whether parquet has such a type: it has no mappings without keys."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return (bool(inner) or not str(kind).startswith("struct")) and all(map(_storable, inner))


def _is_whole(value: Any) -> bool:
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None


def _plain(value: Any) -> Any:
    if isinstance(value, Number):
        return value.text
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else None
