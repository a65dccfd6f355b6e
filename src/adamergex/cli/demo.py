"""`adamergex demo`: the main job, end to end, with progress in the terminal."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adamergex.checkpoint import staged
from adamergex.errors import InputError
from adamergex.plan import planned
from adamergex.recipe import DEMO
from adamergex.run import Event, Store, execute
from adamergex.step import in_order

__all__ = ["run_demo"]


def run_demo(output: Path, targets: tuple[str, ...], workers: int | None) -> dict[str, Any]:
    """Trains, merges, scores and reports; returns what results.json holds.

    Everything lands in `output`: results.json, report.html, the adapters that dev chose as PEFT
    folders under adapters/, and the steps, which a second run takes up again, under steps/.
    """
    from adamergex.report import print_table, write_page
    from adamergex.tasks.emoji import LANGUAGES

    for target in targets:
        if target not in LANGUAGES or target == DEMO.source:
            choices = " or ".join(code for code in LANGUAGES if code != DEMO.source)
            raise InputError("--targets", found=target, needed=choices)
    recipe = replace(DEMO, targets=targets)
    last = planned(recipe)
    store = Store(output / "steps")
    start = time.perf_counter()
    with _progress(len(in_order([last]))) as on_event:
        folder = execute(last, store, workers=workers, on_event=on_event)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    _publish(last, results, store, output)
    write_page(output / "report.html", results, LANGUAGES)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file has no width, and 80 columns would break every line
    print_table(results, LANGUAGES, console)
    console.print(f"{time.perf_counter() - start:.0f} s; {output / 'report.html'}", soft_wrap=True)
    return results


def _publish(last: Any, results: dict[str, Any], store: Store, output: Path) -> None:
    """Copies what people look for out of the store: the numbers, and each chosen adapter."""
    text = json.dumps(results, indent=1)
    (output / "results.json").write_text(text + "\n", encoding="utf-8")
    with staged(output / "adapters") as folder:
        for row in results["rows"]:
            if row["headline"]:
                chosen = store.path(last.inputs[f"select.{row['step']}"]) / "adapter"
                shutil.copytree(chosen, folder / f"emoji-{row['target']}")


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar of all steps and what runs now; where no one watches, a line for each training."""
    console = Console(stderr=True, highlight=False)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    running: list[str] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=total)

        def on_event(event: Event) -> None:
            label = event.step.label
            if event.what == "started":
                running.append(label)
                if not console.is_terminal and event.step.kind in ("model", "train"):
                    console.print(label, soft_wrap=True)
            else:
                if label in running:
                    running.remove(label)
                progress.advance(task)
            progress.update(task, description=", ".join(running))

        yield on_event
