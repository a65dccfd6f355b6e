"""Plain text by name or path: what reference tasks are made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks import emoji
from adamergex.tasks.languages import code_for, filled
from adamergex.tasks.row import SKIP, CellError, Row, text_of
from adamergex.tasks.sources import Files, Source, file_source, hub_source, rows, taken

__all__ = ["TEXTS", "lines", "parallel_lines", "text_source"]

_WIKIPEDIA = {
    "hub": "wikimedia/wikipedia",
    "name": "20231101.{language}",
    "split": "train[:2000]",
    "codes": "iso",
}

TEXTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ntrex": {
            "hub": "davidstap/NTREX",
            "name": "{language}",
            "split": "test",
            "codes": "flores",
        },
        "wikipedia": _WIKIPEDIA,
        "wikipedia-10k": {**_WIKIPEDIA, "split": "train[:10000]"},
        "emoji": {"builtin": "emoji", "split": "reference", "codes": "iso"},
    }
)
"""Text that has a name: news sentences parallel in 128 languages (codes as swh_Latn); articles, the
first 2,000 or, as the paper's code has, 10,000; names of emoji, parallel in 14."""


def text_source(
    text: str,
    language: str,
    folder: Path,
    columns: list[str] | None = None,
    quoting: str | None = None,
) -> tuple[Source, dict[str, Path]]:
    """The source of a text in one language, and the files that it needs.

    Args:
        text: A name in TEXTS, or the path of a file with `{language}` in it.
        language: The code.
        folder: What relative paths start from.
        columns: Names of the columns of a csv or tsv file without a header line.
        quoting: What quotation marks in csv and tsv are; None to tell from the file.
    """
    if text not in TEXTS:
        source, path = file_source(filled(text, language), folder, columns, quoting)
        return source, {source["file"]: path}
    code = code_for(language, TEXTS[text]["codes"])
    known = filled(TEXTS[text], code)
    if "builtin" in known:
        return emoji.source(code, known["split"]), {}
    return hub_source(known["hub"], known["name"], known["split"], {}), {}


class Line(str):
    """A line of text: one row, white space made single spaces.

    Attributes:
        row: The row that it is from.
    """

    __slots__ = ("row",)
    row: Row

    def __new__(cls, text: str, row: Row) -> Line:
        """Of a row."""
        made = super().__new__(cls, " ".join(text.split()))
        made.row = row
        return made


def lines(description: Mapping[str, Any], files: Files) -> list[Line]:
    """The lines of text that a description means.

    Args:
        description: `source`, `column`, `max_samples` and, where rows without a text are empty
            lines, `bad_rows`.
        files: See sources.rows.

    Raises:
        InputError: No such column, or a row without a text in it.
    """
    return taken(_all_lines(description, files), description["max_samples"])


def parallel_lines(
    description: Mapping[str, Any], source: Mapping[str, Any], files: Files
) -> tuple[list[Line], list[Line]]:
    """The lines of a text and of the source text that it is parallel to, as `lines` reads them.

    Raises:
        InputError: Also texts of different lengths, before any lines are drawn from them; an empty
            line that is no row, where the other has none.
    """
    found, wanted = _all_lines(description, files), _all_lines(source, files)
    if len(found) != len(wanted):
        needed = f"{len(wanted)}, as in the source language: parallel text"
        raise InputError(_name(description, files), "lines", found=len(found), needed=needed)
    for line, other in zip(found, wanted, strict=True):
        if line.row.gap != other.row.gap:
            # It may stand for a line that is missing: from there on the pairs would be wrong.
            row = line.row if line.row.gap else other.row
            needed = "none, or one in the parallel text, too"
            raise row.error(found="an empty line before it", needed=needed)
    return taken(found, description["max_samples"]), taken(wanted, source["max_samples"])


def _all_lines(description: Mapping[str, Any], files: Files) -> list[Line]:
    skip = description.get("bad_rows") == "skip"
    found, column = rows(description["source"], files, faulty=skip), description["column"]
    columns = dict.fromkeys(name for row in found for name in row)
    if found and column not in columns:
        needed = " or ".join(map(str, columns))
        raise InputError(_name(description, files), "column", found=column, needed=needed)
    made: list[Line] = []
    for row in found:
        try:
            made.append(Line(text_of(row.get(column)), row))
        except CellError as error:
            if not skip:
                needed = f"text, {SKIP}"
                raise row.error(column, found=str(error), needed=needed) from None
            made.append(Line("", row))
    return made


def _name(description: Mapping[str, Any], files: Files) -> Any:
    return files.get(description["source"].get("file", ""), description["source"])
