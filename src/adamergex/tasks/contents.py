"""By what the rows of a description are known: what is read in them, without answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adamergex.tasks.columns import columns_of
from adamergex.tasks.preparation import prepared
from adamergex.tasks.row import Row
from adamergex.tasks.sources import Files, Source, rows, taken
from adamergex.tasks.text import lines

__all__ = ["texts_of"]

_TELLING = 30
"""Characters: a field of a row that is so long tells the row from others by itself."""


def texts_of(wanted: Mapping[str, Any], files: Files) -> Iterator[list[str]]:
    """What each row that a description means is known by.

    Of a task's row, the columns that its prompt and choices name, put together, and those of them
    that are long by themselves. Of text, each line. Also of the source side of what is parallel; of
    rows with words replaced, what they were before; where rows are held out, all of them. Nothing
    is rendered: it is cheap.

    Args:
        wanted: The description, see tasks.data.
        files: See tasks.sources.rows.

    Raises:
        InputError: A file that cannot be read, or has changed; see also tasks.text.lines.
    """
    for part in wanted.get("of", ()):
        yield from texts_of(part, files)
    for key in ("lines", "source_lines"):
        if key in wanted:
            yield from ([line] for line in map(str, lines(wanted[key], files)) if line)
    if wanted["rows"] == "task":
        for key in ("source", "source_rows"):
            if key in wanted:
                yield from _of_task(wanted, wanted[key], files)


def _of_task(wanted: Mapping[str, Any], source: Source, files: Files) -> Iterator[list[str]]:
    skip = wanted.get("bad_rows") == "skip"
    found = prepared(wanted["task"], rows(source, files, faulty=skip))
    asked = columns_of(wanted["task"])
    for row in taken(found, wanted["max_samples"]):
        known = _known(row, asked)
        if known:
            yield known


def _known(row: Row, asked: set[str]) -> list[str]:
    texts = {name: value for name, value in row.items() if isinstance(value, str) and value.strip()}
    fields = [value for name, value in texts.items() if name in asked] or list(texts.values())
    whole = [" ".join(fields)] if fields else []
    return [*whole, *(field for field in fields if len(fields) > 1 and len(field) >= _TELLING)]
