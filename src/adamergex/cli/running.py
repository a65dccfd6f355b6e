"""`adamergex run` and `adamergex demo`: a recipe carried out, with progress in the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adamergex.cli.execution import Execution
from adamergex.plan import check_leaks, planned
from adamergex.recipe import Recipe
from adamergex.run import Event, Store, execute, publish
from adamergex.run.log import logged
from adamergex.run.ray import execute_on_ray
from adamergex.run.shared import SharedStore, store_at
from adamergex.step import Step, in_order
from adamergex.tasks import Data, readings

__all__ = ["print_plan", "run_recipe"]

_TRAINING = ("train", "train-sparse", "distil")


def run_recipe(recipe: Recipe, output: Path, how: Execution) -> dict[str, Any]:
    """Trains, merges, scores and reports; returns what results.json holds.

    Everything lands in `output`: results.json, report.html and the tables, the adapters to deploy
    as PEFT folders under adapters/, and the steps, which a second run takes up again, under steps/
    if they have no other store.
    """
    last = planned(recipe)
    store = store_at(how.store_of(output))
    output.mkdir(parents=True, exist_ok=True)
    with logged(output), store.in_use():
        if not store.finished(last):
            check_leaks(recipe, last)
        return _carried_out(recipe, last, store, output, how)


def _carried_out(
    recipe: Recipe, last: Step, store: Store | SharedStore, output: Path, how: Execution
) -> dict[str, Any]:
    from adamergex.report import print_table, write_report

    start = time.perf_counter()
    steps = in_order([last])
    with _progress(len(steps)) as (on_event, say):
        for line in _readings(steps):
            say(line)
        _execute(last, store, how, on_event, say)
    results = publish(recipe, last, store, output)
    write_report(output)
    console = _console()
    print_table(results, console)
    console.print(f"{time.perf_counter() - start:.0f} s; {output / 'report.html'}", soft_wrap=True)
    return results


def _execute(
    last: Step, store: Store | SharedStore, how: Execution, on_event: Any, say: Any
) -> None:
    if how.executor == "local" and isinstance(store, Store):
        execute(last, store, workers=how.workers, on_event=on_event, say=say)
        return
    cpus, gpus = how.cpus_per_step or 1, how.gpus_per_step
    execute_on_ray(last, store, address=how.address, cpus=cpus, gpus=gpus, on_event=on_event)


def print_plan(recipe: Recipe, output: Path, how: Execution) -> None:
    """Every step of a recipe: what is cached, and what would be done. Nothing is."""
    steps = in_order([planned(recipe)])
    place = how.store_of(output)
    store = store_at(place) if "://" in place or Path(place).is_dir() else None
    done = {step for step in steps if store is not None and store.finished(step)}
    table = Table.grid(padding=(0, 2))
    for step in steps:
        table.add_row("cached" if step in done else "to do", step.kind, escape(step.label))
    console = _console()
    console.print(table)
    for line in _readings(steps):
        console.print(escape(line), soft_wrap=True)
    kinds = Counter(step.kind for step in steps if step not in done)
    trained = sum(kinds[kind] for kind in _TRAINING)
    console.print(
        f"{len(steps)} steps, {len(done)} cached; to do: {trained} trainings, "
        f"{kinds['score']} scorings, {sum(kinds.values()) - trained - kinds['score']} others",
        soft_wrap=True,
    )


def _readings(steps: Iterable[Step]) -> list[str]:
    """How the steps' files are read that could be read otherwise."""
    described = (Data(step.config["data"], step.files) for step in steps if "data" in step.config)
    return list(dict.fromkeys(line for data in described for line in readings(data)))


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140  # a file has no width, and 80 columns would break every line
    return console


@contextmanager
def _progress(total: int) -> Iterator[tuple[Any, Any]]:
    """A bar of all steps and what runs now; where no one watches, a line for each training.

    Yields:
        What is to be called with each event, and with a line of text.
    """
    console = Console(stderr=True, highlight=False)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    running: list[str] = []

    def say(line: str) -> None:
        console.print(escape(line), soft_wrap=True)

    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=total)

        def on_event(event: Event) -> None:
            label = event.step.label
            if event.what == "damaged":
                say(f"{label}: {event.detail} since it was made; it is made anew")
                return
            if event.what == "started":
                running.append(label)
                if not console.is_terminal and _worth_a_line(event.step):
                    say(label)
            else:
                if label in running:
                    running.remove(label)
                progress.advance(task)
            progress.update(task, description=escape(", ".join(running)))

        yield on_event, say


def _worth_a_line(step: Step) -> bool:
    return step.kind == "model" or step.kind in _TRAINING
