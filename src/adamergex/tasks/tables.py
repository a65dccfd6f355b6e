"""Tables in text: whether a file's quotation marks are csv's or the text's own."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from adamergex.errors import InputError

__all__ = ["QUOTINGS", "quoting_of"]

QUOTINGS = {"csv": csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}
"""What a recipe may say under `quoting`."""
_PROPER = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_LONGEST = 2**24


def quoting_of(path: Path) -> str | None:
    """How the quotation marks of a tsv file are meant; None where no field begins with one.

    Both habits are common. Of a file that a csv writer made, every field that begins with a mark
    ends with one and has its inner ones doubled, and none has a bare one inside.

    Returns:
        `csv` or `none`.

    Raises:
        InputError: A file that is a table either way, and not the same one.
    """
    with _long_fields():
        begins, literal_fits, proper, written = _literal(path)
        if not begins:
            return None
        if proper:
            return "csv" if written else "none"
        fits = _fits(path)
    if fits and literal_fits:
        found = "quotation marks that may be csv's or the text's own"
        raise InputError(path, found=found, needed="quoting: csv, or quoting: none, in data_files")
    return "csv" if fits else "none"


def _literal(path: Path) -> tuple[bool, bool, bool, bool]:
    """The file as if a quotation mark were a character like any other.

    Returns:
        Whether any field begins with one; whether all rows have as many fields; whether those that
        begin with one are as csv writes them; whether a csv writer can have written the rest.
    """
    begins = bare = doubled = False
    proper = True
    widths: set[int] = set()
    for row in _rows(path, csv.QUOTE_NONE):
        widths.add(len(row))
        for field in row:
            if field.startswith('"'):
                begins = True
                proper = proper and _PROPER.fullmatch(field) is not None
                doubled = doubled or '""' in field[1:-1]
            elif '"' in field:
                bare = True
    return begins, len(widths) == 1, proper, doubled or not bare


def _fits(path: Path) -> bool:
    """Whether it is a table if quotation marks are csv's."""
    try:
        return len({len(row) for row in _rows(path, csv.QUOTE_MINIMAL)}) == 1
    except csv.Error:
        return False


def _rows(path: Path, quoting: int) -> Iterable[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t", quoting=quoting, strict=True):
            if row:
                yield row


@contextmanager
def _long_fields() -> Generator[None]:
    """Python's csv reads no field above 128 KiB unless it is told to: an article may be longer."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
