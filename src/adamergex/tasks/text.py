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

__all__ = ["TEXTS", "lines", "text_source"]

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
        InputError: No such column.
    """
    found = rows(description["source"], files)
    column = description["column"]
    if found and column not in found[0]:
        name = files.get(description["source"].get("file", ""), description["source"])
        raise InputError(name, "column", found=column, needed=" or ".join(map(str, found[0])))
    texts = [" ".join(str(row[column]).split()) for row in found]
    return taken(texts, description["max_samples"])
