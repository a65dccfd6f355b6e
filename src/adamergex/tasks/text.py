"""Plain text by name or path: what reference tasks are made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks import emoji
from adamergex.tasks.languages import code_for
from adamergex.tasks.sources import Files, Source, file_source, hub_source, rows, taken
from adamergex.tasks.spec import filled

__all__ = ["TEXTS", "lines", "parallel_lines", "text_source"]

TEXTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ntrex": {
            "hub": "davidstap/NTREX",
            "name": "{language}",
            "split": "test",
            "codes": "flores",
        },
        "wikipedia": {
            "hub": "wikimedia/wikipedia",
            "name": "20231101.{language}",
            "split": "train[:2000]",
            "codes": "iso",
        },
        "emoji": {"builtin": "emoji", "split": "reference", "codes": "iso"},
    }
)
"""Text that has a name: news sentences parallel in 128 languages (codes as swh_Latn); articles, the
first 2,000, as the paper's; names of emoji, parallel in 14."""


def text_source(
    text: str, language: str, folder: Path, columns: list[str] | None = None
) -> tuple[Source, dict[str, Path]]:
    """The source of a text in one language, and the files that it needs.

    Args:
        text: A name in TEXTS, or the path of a file with `{language}` in it.
        language: The code.
        folder: What relative paths start from.
        columns: Names of the columns of a csv or tsv file without a header line.
    """
    if text not in TEXTS:
        source, path = file_source(filled(text, language), folder, columns)
        return source, {source["file"]: path}
    code = code_for(language, TEXTS[text]["codes"])
    known = filled(TEXTS[text], code)
    if "builtin" in known:
        return emoji.source(code, known["split"]), {}
    return hub_source(known["hub"], known["name"], known["split"], {}), {}


def lines(description: Mapping[str, Any], files: Files) -> list[str]:
    """The lines of text that a description means: one a row, white space made single spaces.

    Args:
        description: `source`, `column` and `max_samples`.
        files: See sources.rows.

    Raises:
        InputError: No such column, or a row without a text in it.
    """
    return taken(_all_lines(description, files), description["max_samples"])


def parallel_lines(
    description: Mapping[str, Any], source: Mapping[str, Any], files: Files
) -> tuple[list[str], list[str]]:
    """The lines of a text and of the source text that it is parallel to, as `lines` reads them.

    Raises:
        InputError: Also texts of different lengths, before any lines are drawn from them.
    """
    found, wanted = _all_lines(description, files), _all_lines(source, files)
    if len(found) != len(wanted):
        needed = f"{len(wanted)}, as in the source language: parallel text"
        raise InputError(_name(description, files), "lines", found=len(found), needed=needed)
    return taken(found, description["max_samples"]), taken(wanted, source["max_samples"])


def _all_lines(description: Mapping[str, Any], files: Files) -> list[str]:
    found, column = rows(description["source"], files), description["column"]
    if found and column not in found[0]:
        needed = " or ".join(map(str, found[0]))
        raise InputError(_name(description, files), "column", found=column, needed=needed)
    for number, row in enumerate(found):
        value = row.get(column)
        if value is None or (isinstance(value, float) and value != value):  # pandas' null is NaN
            field = f"row {number}, {column}"
            raise InputError(_name(description, files), field, found="null", needed="text")
    return [" ".join(str(row[column]).split()) for row in found]


def _name(description: Mapping[str, Any], files: Files) -> Any:
    return files.get(description["source"].get("file", ""), description["source"])
