"""The command `adamergex`, and `python -m adamergex`, in a process of their own."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import time
from contextlib import suppress
from threading import Thread
from typing import Any, NoReturn

__all__ = ["run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = "adamergex: error: interrupted\n"
_PATIENCE = 3.0
"""Seconds for what is done in the end, before the process ends all the same."""


def run() -> NoReturn:
    """Runs the command line with less garbage collection: a fifth of a short command before.

    What is imported is no garbage, and in the end the process goes with all that it has. One
    interrupt, or SIGTERM, ends it, whatever it is at.
    """
    asked: list[int] = []
    try:
        if os.name == "posix":
            _end_when_asked(asked)
        gc.set_threshold(10_000)  # new objects before each collection: 700 by default
        atexit.register(gc.freeze)
        from adamergex.cli import main

        code = main(interrupted=lambda: bool(asked))
    except KeyboardInterrupt:  # before `main` could say so, or after
        code = 130
        sys.stderr.write(_INTERRUPTED)
    if asked:
        # Not by way of the interpreter's own end, which waits for threads.
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + asked[0])
    sys.exit(code)


def _end_when_asked(asked: list[int]) -> None:
    """Has a signal raise KeyboardInterrupt, once: what is done then to end well is not interrupted.

    Where the interrupt is lost, or held up, the process ends without it: the workers that it has
    started end when it is gone.

    Args:
        asked: Where the signal is written down when it comes.
    """

    def interrupt(number: int, frame: Any) -> NoReturn:
        asked.append(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if _importing(frame):  # modules make another error of it, or show where they were
            _end(number)
        raise KeyboardInterrupt

    def watch() -> None:
        while (number := os.read(reading, 1)[0]) not in _SIGNALS:
            continue
        time.sleep(_PATIENCE)
        _end(number)

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Written to by the signal itself: Python's own handler waits for the main thread.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    Thread(target=watch, daemon=True).start()
    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            signal.signal(each, interrupt)


def _end(number: int) -> NoReturn:
    os.write(2, _INTERRUPTED.encode())
    os._exit(128 + number)


def _importing(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    run()
