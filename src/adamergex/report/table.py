"""The results in a terminal: a table for each task and language, a sentence under it, the means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adamergex.report.reading import Results, Standing, Task, checked
from adamergex.report.text import (
    best,
    difference,
    drawn,
    helps,
    interval_of,
    metric_name,
    number,
    row_name,
    score,
    selection,
    settings,
    verdict,
    versions,
)

__all__ = ["print_table"]


def print_table(results: Results | Mapping[str, Any], console: Console | None = None) -> None:
    """Prints every task's table of each target language, and in a line what it comes to.

    Args:
        results: What results.json holds.
        console: Where to print; standard output if None.

    Raises:
        InputError: `results` does not have the schema.
    """
    found = results if isinstance(results, Results) else checked(results)
    console = console or Console(highlight=False)
    for task in found.tasks:
        for target in found.targets:
            console.print(_table(found, task, target))
            console.print(verdict(found, task, target), soft_wrap=True, markup=False)
            console.print()
        if task.means:
            console.print(_means(task, len(found.targets)))
            console.print()
    for sentence in versions(found):
        console.print(sentence, soft_wrap=True, markup=False)


def _means(task: Task, languages: int) -> Table:
    title = f"{task.task}, mean over {languages} languages: test {metric_name(task.metric)}"
    means = sorted(task.means, key=lambda mean: mean.oracle)
    columns = {
        metric_name(task.metric): [score(mean) for mean in means],
        "sd": ["" if mean.seed_sd is None else number(mean.seed_sd) for mean in means],
        "against source-ft": [difference(mean.versus_source_ft) for mean in means],
        "deployed against it": [difference(mean.deployed_versus) for mean in means],
    }
    table = Table(title=Text(title), box=SIMPLE_HEAD, caption=Text(drawn(task)))
    table.add_column("method")
    shown = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in shown:
        table.add_column(Text(heading), justify="right")
    for mean, *cells in zip(means, *shown.values(), strict=True):
        table.add_row(Text(_named(mean)), *map(Text, cells))
    return table


def _table(results: Results, task: Task, target: str) -> Table:
    rows = task.of(target)
    top = best(task, [row for row in rows if not row.oracle])
    title = f"{task.task}, {results.language(target)}: test {metric_name(task.metric)}"
    if (items := task.n_test.get(target)) is not None:
        title += f" on {items} items"
    table = Table(title=Text(title), box=SIMPLE_HEAD, caption=Text(_caption(results, task, target)))
    seeds = any(row.seed_sd is not None for row in rows)
    table.add_column("method")
    table.add_column(selection(results).heading)
    table.add_column(Text(metric_name(task.metric)), justify="right")
    if seeds:
        table.add_column("sd", justify="right")
    table.add_column("against source-ft", justify="right")
    for row in rows:
        if row.oracle:
            table.add_section()
        bold = not row.oracle and row.score == top and helps(task, row.versus_source_ft) > 0
        cells = [
            Text(_named(row)),
            Text(settings(row)),
            Text(score(row), style="bold" if bold else ""),
            Text(difference(row.versus_source_ft)),
        ]
        if seeds:
            cells.insert(3, Text("" if row.seed_sd is None else number(row.seed_sd)))
        table.add_row(*cells)
    return table


def _named(row: Standing) -> str:
    notes = [note for note in ("oracle" * row.oracle, "to deploy" * row.headline) if note]
    # A variant may say so itself.
    return ", ".join([row_name(row), *(note for note in notes if note != row.variant)])


def _caption(results: Results, task: Task, target: str) -> str:
    parts: list[str] = []
    if task.chance is not None:
        parts.append(f"chance {number(task.chance)}")
    if task.majority and target in task.majority:
        parts.append(f"majority class {number(task.majority[target])}")
    parts.append("± one standard error over items")
    if any(row.seed_sd is not None for row in task.of(target)):
        parts.append("sd over seeds")
    if any(row.versus_source_ft for row in task.of(target)):
        over = interval_of(task, len(results.seeds))
        parts.append(f"differences with 95% intervals over {over}")
    return "; ".join(parts)
