"""Every error that adamergex raises on purpose.

A message is one line that names the thing at fault (a file and a field, a tensor, an option), the
value that was found and the value that was needed.
"""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import Any

__all__ = ["AdamergexError", "InputError", "UnforeseenError", "printable", "told"]

_LONGEST = 200
_EXTRAS = {"ray": "ray", "fsspec": "ray", "gradio": "try"}
"""What brings a module; all others come with `demo`."""


class AdamergexError(Exception):
    """A failure that adamergex foresaw; the command line ends with exit code 1."""

    exit_code = 1


class InputError(AdamergexError):
    """A mistake in what the user gave; the command line ends with exit code 2.

    Args:
        subject: What is at fault, from the outside in: file, then field or tensor.
        found: The value found there.
        needed: The value, or the kind of value, that would have been right.
    """

    exit_code = 2

    def __init__(self, *subject: object, found: object, needed: object) -> None:
        self.subject = subject
        self.found = found
        self.needed = needed
        where = ": ".join(_one_line(part) for part in subject)
        super().__init__(f"{where}: found {_one_line(found)}; needed {_one_line(needed)}")

    def __reduce__(self) -> Any:
        # A worker process hands its error on pickled; the default forgets keyword arguments.
        made = partial(type(self), found=_one_line(self.found), needed=_one_line(self.needed))
        return made, tuple(_one_line(part) for part in self.subject)


class UnforeseenError(AdamergexError):
    """What a step raised that is none of the above: made of text, which every process can hand on.

    Args:
        message: What is told of it, in one line.
        where: The traceback.
    """

    def __init__(self, message: str, where: str) -> None:
        self.where = where
        super().__init__(message)

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.where)


def told(error: BaseException) -> str:
    """What to tell the user of an error, in one line but for its own line breaks."""
    if isinstance(error, AdamergexError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        if error.name in ("fcntl", "resource"):  # of Python itself, but not everywhere
            return (
                f"this system has no {error.name}: only merge and inspect do without Linux or macOS"
            )
        extra = _EXTRAS.get(error.name or "", "demo")
        return f"{error.name} is not installed: pip install 'adamergex[{extra}]'"
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(filter(None, (_one_line(error.filename or ""), error.strerror)))
    return f"{type(error).__name__}: {error}"


def printable(text: str, also: str = "") -> str:
    """`text` with what a terminal would obey rather than show written out, as in a literal.

    Args:
        text: It may come from an untrusted file.
        also: Characters to leave as they are: line breaks, for instance.
    """
    return "".join(c if c.isprintable() or c in also else repr(c)[1:-1] for c in text)


def _one_line(value: object) -> str:
    """`value` as printable text of bounded length: it may come from an untrusted file."""
    try:
        text = str(value) if isinstance(value, str | PathLike) else repr(value)
    except (ValueError, RecursionError):  # an integer of 5,000 digits, brackets 1,000 deep
        text = type(value).__name__
    text = printable(text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
