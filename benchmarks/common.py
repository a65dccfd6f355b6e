"""What the benchmarks share: interleaved timing, medians with their spread, Markdown tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COPIES = {
    # Recipe -> its data in a folder of copies of the public files, which is put in place of DATA.
    "sib200": [
        *(
            f"data_files.sib200.{x}=DATA/sib200/{{language}}/{x}.tsv"
            for x in ("train", "dev", "test")
        ),
        *(f"reference.{i}.text=DATA/ntrex/{{language}}.txt" for i in range(3)),
    ],
    "xquad": ["data_files={xquad: {test: 'DATA/xquad/{language}.json[901:]'}}"],
}


def recipe(name: str) -> Any:
    """A recipe of the repository; its data from the folder ADAMERGEX_DATA, or from the Hub."""
    from adamergex.recipe import load_recipe

    folder = os.environ.get("ADAMERGEX_DATA")
    changes = [] if folder is None else [x.replace("DATA", folder) for x in _COPIES[name]]
    return load_recipe(Path(__file__).parents[1] / "recipes" / f"{name}.yaml", changes)


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


def command(*arguments: object, reads: bool = False) -> tuple[float, str]:
    """Runs a command; its seconds, and what it printed if that is to be read."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(x) for x in arguments],
        check=False,
        stdout=subprocess.PIPE if reads else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{arguments[:4]} failed: {done.stderr[-2000:]}")
    return took, done.stdout or ""


def python(code: str, *arguments: object, reads: bool = False) -> tuple[float, str]:
    """Runs Python code in a process of its own, as `command` does."""
    return command(sys.executable, "-W", "ignore", "-c", code, *arguments, reads=reads)


_PEAK = """
import sys
from pathlib import Path
from adamergex.cli import main
code = main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print("\\npeak", next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""


def peak(*arguments: object) -> int:
    """The most memory, in bytes, that the command `adamergex` holds (Linux).

    It is read within the process: what `wait4` says of a child counts its parent's as well.
    """
    return int(python(_PEAK, *arguments, reads=True)[1].split()[-1]) * 1024


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
