"""What a field of results.json may hold: text that is shown and not obeyed, finite numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["Count", "Lines", "Number", "Text", "one_line"]

_JOINERS = "\u200c\u200d"  # not printable by Python's account, but spelling in Persian and Hindi


def one_line(text: str) -> str:
    """`text` on one line, without what a terminal or a page would obey rather than show."""
    return _printable(" ".join(text.split()))


def _printable(text: str, also: str = _JOINERS) -> str:
    """`text` without what moves a terminal's cursor or turns the direction of what follows."""
    return "".join(c if c.isprintable() or c in also else "\ufffd" for c in text)


def _lines(text: str) -> str:
    return _printable(text, also=_JOINERS + "\n\t")


Text = Annotated[str, AfterValidator(one_line)]
Lines = Annotated[str, AfterValidator(_lines)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
