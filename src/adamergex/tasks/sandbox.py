"""Templates and filters of a task from anywhere: without Python, in bounded time and memory."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adamergex.errors import InputError

resource: Any
try:
    import resource
except ImportError:  # Windows: whoever reads a task's rows is told, see bounded
    resource = None

__all__ = ["Sandbox", "bounded"]

SECONDS = 5.0
"""Of the processor, for one template over one row, which takes microseconds, or one item's filters.

Not by the clock: where the machine is busy, a good template would be taken for an endless one.
"""
MEMORY = 2**29
"""Bytes beyond those that the process has: a prompt has thousands of characters."""


class _OverrunError(BaseException):
    """Time is up. No Exception, which Jinja takes for one of the template's own and goes on."""


@contextmanager
def bounded() -> Generator[None]:
    """Bounds what is done in it, in time and, on Linux, in memory.

    Only the main thread can be interrupted: in any other nothing is bounded.

    Raises:
        TimeoutError: It took longer than SECONDS.
        MemoryError: It wanted more than MEMORY.
        InputError: A system that has no such bounds.
    """
    if resource is None:
        needed = "Linux or macOS: only merge and inspect need neither"
        raise InputError("this system", found="no bounds for templates (resource)", needed=needed)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGPROF, _overrun)
    memory = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_most_memory(*memory), memory[1]))
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)  # time may be up just before it
    except _OverrunError:
        raise TimeoutError(f"more than {SECONDS:g} seconds") from None
    finally:
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def _overrun(*_: object) -> None:
    raise _OverrunError


def _most_memory(soft: int, hard: int) -> int:
    """The process's address space and MEMORY more; what was allowed already is not extended."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return soft
    wanted = pages * resource.getpagesize() + MEMORY
    return min(limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY)


class _Template(jinja2.Template):
    def render(self, *args: Any, **kwargs: Any) -> str:
        with bounded():
            return super().render(*args, **kwargs)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without a way to Python's internals.

    Compiling is bounded too: it computes what is constant. It takes longer than a hundred rows, and
    is done once for a template: lm-evaluation-harness asks for it again for each row.
    """

    template_class = _Template

    @lru_cache(maxsize=64)  # noqa: B019 - there is one environment, for as long as the process lives
    def from_string(self, source: str) -> jinja2.Template:  # type: ignore[override]
        """The template of a text."""
        with bounded():
            return super().from_string(source)
