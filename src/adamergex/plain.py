"""Text and JSON from outside: bounded before they are read, plain data once they are parsed.

And what lies in a file's place where a download did not come through.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from adamergex.errors import InputError

__all__ = ["DEEPEST", "check_downloaded", "decoded", "parsed_json", "text_of"]

DEEPEST = 32
"""Brackets within brackets: no config is as deep, and what copies or prints one is recursive."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # which begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks, as Windows puts them at the beginning of a file, and what they stand for."""

_POINTERS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)
"""How a git-lfs pointer begins; the second is the name that git-lfs had before 2015."""
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body", b"<error")


def check_downloaded(begin: bytes, what: str, *subject: object) -> None:
    """Raises InputError where a file begins as what a download leaves that did not come through.

    Args:
        begin: Its first bytes: 64 or more, or all that it has.
        what: What it should be, for the message.
        subject: The file, for the message.
    """
    found, remedy = "", "download it again"
    if begin.startswith(_POINTERS):
        found = "a git-lfs pointer in its place"
        remedy = "run `git lfs pull` where it was cloned"
    elif begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        found = "a web page in its place"
    elif not begin:
        found = "an empty file"
    if found:
        raise InputError(*subject, found=found, needed=f"{what}: {remedy}")


def text_of(path: Path, most: int, what: str) -> str:
    """The text of a small file.

    Args:
        path: The file.
        most: The most bytes that it may have.
        what: What it should be, for the message.

    Raises:
        InputError: No such file, a larger one, what a broken download leaves, or not UTF-8.
    """
    if not path.is_file():
        raise InputError(path, found="no such file", needed=what)
    with path.open("rb") as file:
        content = file.read(most + 1)  # its size may be a lie: some files of /proc have no end
    if len(content) > most:
        raise InputError(path, found=f"more than {most} bytes", needed=f"at most {most}")
    if content:  # an empty text is one, and may be an empty recipe
        check_downloaded(content, what, path)
    return decoded(content, path, what)


def decoded(content: bytes, path: Path, what: str) -> str:
    """The text that a file's bytes are: UTF-8, or what their byte order mark says.

    Args:
        content: The bytes.
        path: The file, and
        what: what it should be, for the message.

    Raises:
        InputError: Bytes of another encoding, with the line that the first of them is on.
    """
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8")
    )
    try:
        return str(memoryview(content)[len(mark) :], encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        found = f"line {line}: {error.reason}, byte {content[len(mark) + error.start]:#04x}"
        needed = f"{what}, in UTF-8 (iconv -f WINDOWS-1252 -t UTF-8, or as its language is written)"
        raise InputError(path, found=found, needed=needed) from None


def parsed_json(text: str, *subject: object, number: Callable[[str], Any] | None = None) -> Any:
    """The content of a JSON text.

    Args:
        text: The text.
        subject: Where it is from, for the message.
        number: What to make of a number as it is written; by default Python's own.

    Raises:
        InputError: Not JSON, a key twice in one object, or brackets too deep.
    """
    try:
        content = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=number,
            parse_float=number,
            parse_constant=number,
        )
    except _DuplicateError as error:
        raise InputError(*subject, str(error), found="the field twice", needed="it once") from None
    except (ValueError, RecursionError) as error:
        raise InputError(*subject, found=str(error), needed="JSON") from None
    if _deeper(content, DEEPEST):
        found, needed = f"more than {DEEPEST} brackets in one another", f"at most {DEEPEST}"
        raise InputError(*subject, found=found, needed=needed)
    return content


class _DuplicateError(ValueError):
    """A key that stands twice in one JSON object; its text is the key."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _DuplicateError(next(k for k, _ in pairs if k in seen or seen.add(k)))
    return found


def _deeper(content: object, most: int) -> bool:
    """Whether there are more than `most` levels of brackets, found without recursion."""
    level = [content]
    for _ in range(most + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(cast(dict[object, object], value).values())
            elif isinstance(value, list):
                inner.extend(cast(list[object], value))
        level = inner
    return bool(level)
