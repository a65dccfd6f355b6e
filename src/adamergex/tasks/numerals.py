"""The last number of a text, written in any digits and as its language writes numbers."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from adamergex.tasks.languages import code_for

__all__ = ["harness_number", "last_number"]

_COMMA = frozenset(
    {
        "az", "bg", "cs", "da", "de", "el", "es", "et", "fi", "fr", "hr", "hu", "id", "it", "lt",
        "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tr", "uk", "uz", "vi",
    }
)  # fmt: skip
"""Languages (ISO 639-1) with a decimal comma (CLDR)."""
_SPACE = " \u00a0\u2009\u202f"
_CHARACTERS = str.maketrans("，．٬٫－﹣", ",.,.\u2212\u2212")
"""Full-width and Arabic separators and signs -> the usual ones."""
_NUMBER = re.compile(
    # A hyphen after a letter or a digit is none: 10-8 ends in 8, COVID-19 in 19.
    r"(?P<sign>(?:(?<!\d)\u2212|(?<![\w)\]%\u2212])-)?)[$€£¥₹฿]?"
    rf"(?P<digits>\d+(?:[.,'’]\d+|[{_SPACE}]\d{{3}}(?!\d))*)"
)
_HARNESS = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_NO_MARKS = str.maketrans("", "", string.punctuation)


def last_number(text: str, language: str | None = None) -> str | None:
    """The last number of a text in plain digits: `-1234.5`; None where there is none.

    Digits of every script count. `1,000`, `1.000`, `1 000`, `1'000` and `1,00,000` are grouped: the
    first group has one to three digits and no leading 0, the last has three, and those between have
    two or three. Of two kinds of marks the last is the decimal mark. A single comma or point before
    three digits (`2.125`) is the decimal mark if the language has that one, and else parts groups.
    What is neither (`1,2,3`, `12.05.2020`) is several numbers.

    Args:
        text: The text.
        language: Its code; None is read as English.
    """
    found = None
    for match in _NUMBER.finditer(_plain(text)):
        found = match
    if found is None:
        return None
    mark = "," if code_for(language or "en", "iso") in _COMMA else "."
    whole, fraction = _read(found["digits"], mark)
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if found["sign"] and number != "0" else number


def harness_number(text: str, gold: str) -> bool:
    """Whether lm-evaluation-harness's mgsm tasks count an answer right, by `flexible-extract`.

    It takes the last run of `0-9.,$` and compares what is left without any punctuation.
    """
    found = _HARNESS.findall(text)
    if not found:
        return False
    return max(found[-1], key=len).translate(_NO_MARKS) == gold.translate(_NO_MARKS)


def _plain(text: str) -> str:
    """With ASCII digits and the usual marks, without characters that only format."""
    digits = (str(unicodedata.decimal(c, c)) for c in text if unicodedata.category(c) != "Cf")
    return "".join(digits).translate(_CHARACTERS)


def _read(run: str, mark: str) -> tuple[str, str]:
    """The digits before and after the decimal mark of a run of digits and marks."""
    groups = re.split(r"\D", run)
    marks = [" " if c in _SPACE else "'" if c == "’" else c for c in run if not c.isdigit()]
    last = marks[-1] if marks else ""
    if last in (".", ",") and marks.count(last) == 1:
        if len(marks) == 1 and _grouped(groups) and last != mark:
            return "".join(groups), ""
        if len(marks) == 1 or (len(set(marks)) == 2 and _grouped(groups[:-1])):
            return "".join(groups[:-1]), groups[-1]
    elif len(set(marks)) == 1 and _grouped(groups):
        return "".join(groups), ""
    return groups[-1], ""


def _grouped(groups: Sequence[str]) -> bool:
    first, *between, last = groups
    return (
        0 < len(first) < 4
        and first[0] != "0"
        and all(len(group) in (2, 3) for group in between)
        and len(last) == 3
    )
