"""What the benchmarks share: interleaved timing, medians with their spread, Markdown tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of several runs."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        if len(self.seconds) == 1:
            return f"{self.median:.3g} (one run)"
        return f"{self.median:.3g} ({min(self.seconds):.3g} to {max(self.seconds):.3g})"

    def __truediv__(self, other: Times) -> float:
        return self.median / other.median


def timed(calls: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Times]:
    """Each call `runs` times, in turns: what else the machine does falls on all of them.

    A call that returns a number of seconds has timed itself, without its preparations.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            own = call()
            took = time.perf_counter() - start
            found[name].append(own if isinstance(own, float) else took)
    return {name: Times(seconds) for name, seconds in found.items()}


def command(*arguments: object) -> tuple[float, int]:
    """Runs a command; its seconds, and the most memory that it held, in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(x) for x in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{arguments[:4]} failed: {said.decode()[-2000:]}")
    return took, usage.ru_maxrss * 1024


def python(code: str, *arguments: object) -> tuple[float, int]:
    """Runs Python code in a process of its own, as `command` does."""
    return command(sys.executable, "-W", "ignore", "-c", code, *arguments)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
