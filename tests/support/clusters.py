"""Steps on a Ray cluster whose attempts are seen, and can be held."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from adamergex.run import ray
from adamergex.run.shared import store_at
from adamergex.run.worker import set_up
from adamergex.step import Step

HELD = "select"
"""Steps of this kind, once begun, wait until there is a file `go` on the trail."""

_really_performed = ray.performed_there


def on_trail(step: Step, trail: Path) -> Step:
    """The same steps, which leave a trail there: its place is their label, and no more."""
    inputs = {role: on_trail(needed, trail) for role, needed in step.inputs.items()}
    return replace(step, label=str(trail), inputs=inputs)


def performed_in_sight(step: Step, place: str, threads: int, version: str) -> None:
    """Takes the place of performed_there: writes down who does the step, then does it.

    A step does not begin while there is a file `later.` and its folder on the trail.
    """
    trail = Path(step.label)
    while (trail / f"later.{step.folder}").exists():
        time.sleep(0.02)
    set_up(threads)  # a step has begun from here on, and is not interrupted
    _written_down(step)
    while step.kind == HELD and not (trail / "go").exists():
        time.sleep(0.02)
    _really_performed(step, place, threads, version)


def died_in_sight(step: Step, place: str, threads: int, version: str) -> None:
    """Takes its place, and its worker's life."""
    _written_down(step)
    os.kill(os.getpid(), signal.SIGKILL)


def _written_down(step: Step) -> None:
    trail = Path(step.label)
    new = trail / f".{step.folder}.{os.getpid()}"
    new.write_text(str(os.getppid()))
    new.rename(trail / new.name[1:])


def attempts(trail: Path, step: Step) -> dict[int, int]:
    """Of every attempt at a step the worker's process, and its node's."""
    found = trail.glob(f"{step.folder}.*")
    return {int(path.suffix[1:]): int(path.read_text()) for path in found}


def eventually(true: object, seconds: float = 60) -> None:
    """Waits until a call returns something true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def kill_node(raylet: int) -> None:
    """Kills all of a node's processes: a worker outlives its raylet while it is at a step."""
    listed = [line.split() for line in os.popen("ps -e -o pid=,ppid=")]
    for process in (raylet, *(int(pid) for pid, parent in listed if int(parent) == raylet)):
        os.kill(process, signal.SIGKILL)


def alive(process: int) -> bool:
    """Whether a process runs: not gone, and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    # A driver to be killed: ADDRESS STORE TRAIL
    from tests.run.test_local import LAST

    ray.performed_there = performed_in_sight
    address, place, trail = sys.argv[1:]
    ray.execute_on_ray(on_trail(LAST, Path(trail)), store_at(place), address=address)
