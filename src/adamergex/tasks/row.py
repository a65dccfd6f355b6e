"""A row of data: what its cells say, as it is written, and where it stands."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from adamergex.errors import InputError

__all__ = [
    "SKIP",
    "CellError",
    "Number",
    "Row",
    "Unreadable",
    "cell",
    "number",
    "text_of",
    "whole_text",
]

SKIP = "or bad_rows: skip, which leaves such rows out"
"""The end of what an error about one row says is needed."""


class CellError(ValueError):
    """A cell that is no text; its message is what it is instead."""


class Row(dict[str, Any]):
    """One row: the name of each column, and what stands there.

    Attributes:
        file: The file, or the name of the data set; None where it is from neither.
        number: Which of its rows it is, from 0, as `[a:b]` counts.
        line: On which line of a text file it begins, from 1; None in other files.
        gap: Whether lines between it and the row before it are empty.
        fault: What is wrong with it, where it is no row; it has no columns then.
        typed: Whether its file tells numbers from text that looks like them.
    """

    __slots__ = ("fault", "file", "gap", "line", "number", "typed")

    def __init__(
        self,
        cells: Mapping[str, Any],
        file: Path | str | None = None,
        number: int = 0,
        *,
        line: int | None = None,
        gap: bool = False,
        fault: InputError | None = None,
        typed: bool = True,
    ) -> None:
        super().__init__(cells)
        self.file, self.number, self.line = file, number, line
        self.gap, self.fault, self.typed = gap, fault, typed

    def holding(self, cells: Mapping[str, Any]) -> Row:
        """Other cells in the same place."""
        return Row(cells, self.file, self.number, line=self.line, gap=self.gap, typed=self.typed)

    def error(self, *field: str, found: object, needed: object, task: str = "row") -> InputError:
        """An error about it.

        Args:
            field: What of it is wrong; none where it is the whole row.
            found: What is there.
            needed: What should be.
            task: What to name where it is from no file.
        """
        told = f"{found} (line {self.line})" if self.line is not None else found
        return InputError(
            self.file or task, ", ".join((f"row {self.number}", *field)), found=told, needed=needed
        )


class Number(float):
    """A number that is written otherwise than Python would write it: 2.50, 1E5, -0."""

    text: str

    def __new__(cls, text: str) -> Number:
        """As it is written."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __reduce__(self) -> Any:
        return Number, (self.text,)


class Unreadable:
    """What stands in for a cell that cannot be read: an error only where it is used."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __repr__(self) -> str:
        return self.why


def number(text: str) -> int | float | str:
    """The number that a text writes, which turns into that same text again.

    A whole number of more digits than Python reads stays text.

    Raises:
        ValueError: It writes none.
    """
    if text.removeprefix("-").isdecimal():
        try:
            whole = int(text)
        except ValueError:
            return text
        if str(whole) == text:
            return whole
    plain = float(text)
    return plain if repr(plain) == text else Number(text)


def cell(value: Any, kind: str = "") -> Any:
    """A value of Arrow's, NumPy's or a data set's as a cell: JSON's types, and dates as their text.

    What a table calls "not a number" is a missing value there. Bytes and pictures stay as they are:
    they are errors where they are used.

    Args:
        value: The value.
        kind: NumPy's name of its type where that has fewer bits than Python's numbers: its digits
            are those that it has by itself, 0.1 and not 0.10000000149011612.
    """
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    if isinstance(value, float):
        if value != value:
            return None
        return float(str(_numpy(kind)(value))) if kind else value
    if isinstance(value, Decimal):
        return Number(format(value, "f")) if value.is_finite() else None
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        return str(value) if value == value else None  # pandas has a time that is none
    if isinstance(value, Mapping):
        return {str(key): cell(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cell(inner) for inner in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return cell(value.tolist())
    return value


def _numpy(kind: str) -> Any:
    import numpy as np

    return np.dtype(kind).type


def text_of(value: Any) -> str:
    """A cell as text, as it is written; a list or a mapping as Python would write it.

    Raises:
        CellError: It has none: null, bytes, a picture, half of a surrogate pair.
    """
    if value is None:
        raise CellError("null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Unreadable):
        raise CellError(value.why)
    if not isinstance(value, str | int | float | list | tuple | dict):
        raise CellError(type(value).__name__)
    return whole_text(str(value))


def whole_text(text: str) -> str:
    """The text itself.

    Raises:
        CellError: It has half of a surrogate pair, as text has that was cut within an emoji.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise CellError(f"half a character, {half}") from None
    return text
