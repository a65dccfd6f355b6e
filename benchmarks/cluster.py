"""What Ray costs a step, beside the local executor, and how runs scale over a cluster's nodes.

The nodes are processes of this machine, and what is shared out among them are steps that sleep.

    python benchmarks/cluster.py [--steps 100] [--runs 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from common import Times, table, timed

from adamergex.run import Store, execute, ray
from adamergex.step import Step

WORKERS = 2
NODES = (1, 2, 4, 8)
SLEEPS = 64

UNCHANGED, ADAPTER = Step("score", {"given": True}), Step("merge", {"given": True})
GIVEN = {"unchanged": UNCHANGED, "adapter": ADAPTER}

performed = ray.performed_there


def plan(steps: int) -> Step:
    """A step that needs so many others; each only hands a record on."""
    others = {str(i): Step("score", {"i": i}, GIVEN, label=f"step {i}") for i in range(steps)}
    return Step("score", {"steps": steps}, {**GIVEN, **others}, label="last")


def new_store(folder: Path) -> Store:
    """A store with nothing in it but what the plan starts from."""
    store = Store(folder)
    for step in GIVEN.values():
        store.fill(step, lambda _: {"scale": 0})
    return store


def performed_slowly(step: Step, place: str, threads: int, version: str) -> None:
    """A step of one second, which leaves the processor to the others."""
    time.sleep(1)
    performed(step, place, threads, version)


@contextmanager
def nodes(number: int) -> Iterator[str]:
    """A cluster of so many nodes of one CPU, and a head without; yields its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=0, object_store_memory=75 * 2**20, include_dashboard=False)
    for _ in range(number):
        cluster.add_node(num_cpus=1, object_store_memory=75 * 2**20)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def overhead(scratch: Path, steps: int, runs: int) -> None:
    """Prints what a run of a step and one of many take, and what a step more takes."""
    names = (scratch / f"overhead-{i}" for i in count())
    found = timed(
        {
            "local, 1": lambda: execute(plan(0), new_store(next(names)), workers=WORKERS),
            "local": lambda: execute(plan(steps), new_store(next(names)), workers=WORKERS),
            "ray, 1": lambda: ray.execute_on_ray(plan(0), new_store(next(names))),
            "ray": lambda: ray.execute_on_ray(plan(steps), new_store(next(names))),
        },
        runs,
    )
    print("### Steps that do nothing\n")
    rows = []
    for name in ("local", "ray"):
        one, many = found[f"{name}, 1"], found[name]
        each = 1000 * (many.median - one.median) / steps
        rows.append((name, one, many, f"{each:.1f}"))
    table(("executor", "1 step, s", f"{steps + 1} steps, s", "a step more, ms"), rows)


def scaling(scratch: Path, runs: int) -> None:
    """Prints how long the same sleeping steps take on more and more nodes."""
    ray.performed_there = performed_slowly
    rows, first = [], 0.0
    names = (scratch / f"scaling-{i}" for i in count())
    for number in NODES:
        with nodes(number) as address:
            took = [run_on(address, new_store(next(names))) for _ in range(runs)]
        times = Times(took)
        first = first or times.median
        rows.append((number, times, f"{first / times.median:.2f}"))
    print(f"### {SLEEPS} steps of 1 s, and one after them\n")
    table(("nodes", "seconds", "times as fast"), rows)


def run_on(address: str, store: Store) -> float:
    """Seconds of one run, with everything from connecting to the cluster on."""
    start = time.perf_counter()
    ray.execute_on_ray(plan(SLEEPS), store, address=address)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("## Ray\n")
    with tempfile.TemporaryDirectory() as folder:
        overhead(Path(folder), options.steps, options.runs)
        scaling(Path(folder), options.runs)


if __name__ == "__main__":
    main()
