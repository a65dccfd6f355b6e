"""Tables in text, csv and tsv: every cell is a text, as it is written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adamergex.errors import InputError
from adamergex.tasks.row import SKIP, Row

__all__ = ["LONGEST", "Dialect", "dialect_of", "lines_of", "table"]

LONGEST = 2**24
"""Bytes of a line of text, or of a row in csv, tsv or jsonl: a long book has a tenth of them."""
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_OTHERS = (";", "\t", "|")
"""What stands between the fields of a csv file where decimals have commas, and elsewhere."""
_NAMES = "the names of the columns, each once; or columns, where a file has no header line"
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        separator: What stands between fields.
        quoting: `csv` where quotation marks around a field are no part of it; `none` where a mark
            is a character like any other.
        plain: Whether it is what a file of that name has anyway, or both ways are the same.
    """

    separator: str
    quoting: str
    plain: bool = True


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, which end in \n, \r\n or, where there is no \n in it at all, \r.

    Unicode has other line breaks; those are part of a line.
    """
    lines = _with_newlines(text).removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]


def dialect_of(
    text: str, kind: str, path: Path, columns: Sequence[str] | None, quoting: str | None = None
) -> Dialect:
    """How a table is written, by what it holds.

    The separator is the one that the kind is called after or, in csv, another that the first line
    has in its place. In tsv both ways to mean a quotation mark are common. Where a csv writer was
    at work, every field that begins with a mark ends with one and has its inner marks doubled, and
    no other field has one.

    Args:
        text: The table.
        kind: csv or tsv.
        path: Where it is from.
        columns: The names of its columns where it has no header line.
        quoting: What was said of its quotation marks.

    Raises:
        InputError: A file that is a table either way, and not the same one.
    """
    usual = _SEPARATORS[kind]
    separator = usual
    if kind == "csv" and (columns is None or len(columns) > 1):
        first = next((line for line in lines_of(text[:LONGEST]) if line.strip()), "")
        if usual not in first:
            separator = next((other for other in _OTHERS if other in first), usual)
    if quoting is not None:
        return Dialect(separator, quoting, plain=False)
    if separator != "\t":
        return Dialect(separator, "csv", plain=separator == usual)
    found = _quoting(text, separator, path) if '"' in text else None
    return Dialect(separator, found or "none", plain=found is None and separator == usual)


def table(text: str, dialect: Dialect, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of a table; one with more or fewer fields than the header has is a fault.

    An empty line is no row, but where there is one column: there it is an empty text.

    Args:
        text: The table.
        dialect: How it is written.
        path: Where it is from.
        columns: The names of its columns where it has no header line.

    Raises:
        InputError: No header, or one with a name twice; a field that no quotation mark ends.
    """
    records = _records(text, dialect, path)
    names = list(columns) if columns else _header(records, path)
    number, gap = 0, False
    for line, fields in records:
        if len(names) > 1 and _blank(fields):
            gap = True
            continue
        fault, cells = None, dict(zip(names, fields or [""], strict=False))
        if len(fields or [""]) != len(names):
            cells = {}
            found = f"{len(fields)} field{'s' * (len(fields) != 1)}"
            kind = f"{path.suffix[1:]} that can be read"
            needed = f"{len(names)}, one a column, in {kind}, {SKIP}"
            fault = Row({}, path, number, line=line).error(found=found, needed=needed)
        elif columns and number == 0 and fields == names:
            found, needed = "the header line", "no columns given where the file has their names"
            raise InputError(path, f"line {line}", found=found, needed=needed)
        cells.pop("", None)  # columns without a name: those of a spreadsheet that are empty
        yield Row(cells, path, number, line=line, gap=gap and number > 0, fault=fault, typed=False)
        number, gap = number + 1, False


def _header(records: Iterator[tuple[int, list[str]]], path: Path) -> list[str]:
    names = next((fields for _, fields in records if not _blank(fields)), None)
    if names is None:
        raise InputError(path, "header", found="nothing", needed=_NAMES)
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise InputError(path, "header", found=f"{twice[0]} twice", needed=_NAMES)
    return names


def _blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


def _with_newlines(text: str) -> str:
    return text if "\n" in text else text.replace("\r", "\n")


def _records(text: str, dialect: Dialect, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record, and the line that it begins on; of an empty line none."""
    try:
        yield from _fields(text, dialect)
    except _BrokenError as error:
        found = f"{error} (line {error.line})"
        needed = (
            f"{path.suffix[1:]} that can be read: fields in quotation marks with the inner ones "
            "doubled, or quoting: none in data_files"
        )
        raise InputError(path, found=found, needed=needed) from None


class _BrokenError(ValueError):
    line: int


def _fields(text: str, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    if dialect.quoting == "none":
        for line, content in enumerate(lines_of(text), start=1):
            yield line, content.split(dialect.separator) if content else []
        return
    lines = io.StringIO(_with_newlines(text), newline="\n")
    reader = csv.reader(lines, delimiter=dialect.separator, strict=True)
    line = 1
    with _long_fields():
        try:
            for fields in reader:
                yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            broken = _BrokenError(str(error))
            broken.line = line
            raise broken from None


@contextmanager
def _long_fields() -> Generator[None]:
    """Python's csv reads no field above 128 KiB unless it is told to: an article may be longer."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoting(text: str, separator: str, path: Path) -> str | None:
    """What the quotation marks of a table mean; None where no field begins with one."""
    begins = bare = doubled = False
    quoted = True
    widths: set[int] = set()
    for _, fields in _fields(text, Dialect(separator, "none")):
        if _blank(fields):
            continue
        widths.add(len(fields))
        for field in fields:
            if field.startswith('"'):
                begins = True
                quoted = quoted and _QUOTED.fullmatch(field) is not None
                doubled = doubled or '""' in field[1:-1]
            elif '"' in field:
                bare = True
    if not begins:
        return None
    if quoted:
        return "csv" if doubled or not bare else "none"
    if not _fits(text, separator):
        return "none"
    if len(widths) == 1:
        found = "quotation marks that may be csv's or the text's own"
        raise InputError(path, found=found, needed="quoting: csv, or quoting: none, in data_files")
    return "csv"


def _fits(text: str, separator: str) -> bool:
    """Whether it is a table with the same fields in every row, if the marks are csv's."""
    try:
        found = _fields(text, Dialect(separator, "csv"))
        return len({len(fields) for _, fields in found if not _blank(fields)}) == 1
    except _BrokenError:
        return False
