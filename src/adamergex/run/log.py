"""What nobody foresaw: handed on between processes, and kept for those who are to mend it."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from adamergex import __version__
from adamergex.errors import AdamergexError, UnforeseenError, told
from adamergex.step import Step

__all__ = ["LOG_FILE", "foreseen", "logged"]

LOG_FILE = "error.log"


@contextmanager
def foreseen(step: Step) -> Generator[None]:
    """Has nothing leave this process but an AdamergexError, which every other one can read.

    Raises:
        UnforeseenError: In the place of any other error, with where it came from.
    """
    try:
        yield
    except AdamergexError:
        raise
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        raise UnforeseenError(f"{step.label}: {told(error)}", where) from error


@contextmanager
def logged(folder: Path) -> Generator[None]:
    """Writes where an unforeseen error came from to LOG_FILE in a run's folder, and names it.

    Also of one that a step raised in another process, or on another machine.

    Raises:
        AdamergexError: In the place of every error that is none.
    """
    try:
        yield
    except UnforeseenError as error:
        raise AdamergexError(_kept(folder, str(error), error.where)) from error
    except AdamergexError:
        raise
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        raise AdamergexError(_kept(folder, told(error), where)) from error


def _kept(folder: Path, message: str, where: str) -> str:
    """The message, and where the rest is; the message alone if it cannot be written down."""
    path = folder / LOG_FILE
    head = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}, adamergex {__version__}"
    try:
        path.write_text(f"{head}\n{message}\n\n{where}", encoding="utf-8")
    except OSError:
        return message
    return f"{message} (unforeseen: {path} says where)"
