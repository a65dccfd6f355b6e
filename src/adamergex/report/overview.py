"""Methods by languages: the table that the page, Markdown and LaTeX write each in its own way.

Its last column is the mean over the languages, where the results have one.
"""

from __future__ import annotations

from dataclasses import dataclass

from adamergex.report.reading import Results, Standing, Task
from adamergex.report.text import best, difference, helps, number, score

__all__ = ["Cell", "Line", "floor", "lines"]


@dataclass(frozen=True)
class Cell:
    """One method in one language, or in the mean.

    Attributes:
        score: With its standard error.
        difference: From source-ft, with its interval; may be empty.
        sd: Over seeds; may be empty.
        bold: Best of its column, oracles aside, and better than source-ft (text.helps).
        baseline_best: Best of it, and source-ft itself.
        headline: The row to deploy.
    """

    score: str
    difference: str
    sd: str
    bold: bool
    baseline_best: bool
    headline: bool


@dataclass(frozen=True)
class Line:
    """One method and variant in every column; None where it was not measured."""

    method: str
    variant: str
    oracle: bool
    cells: list[Cell | None]

    @property
    def headline(self) -> bool:
        """Whether it is the row to deploy in every language that has it."""
        return all(cell.headline for cell in self.cells if cell is not None)


def lines(results: Results, task: Task) -> list[Line]:
    """The lines of a task's table, columns in the order of `results.targets`, oracles last."""
    columns = [*(task.of(t) for t in results.targets), *([task.means] if task.means else [])]
    # A language may lack a method: each line stands where it stood first.
    names = dict.fromkeys((row.method, row.variant, row.oracle) for row in task.rows)
    tops = [best(task, [row for row in rows if not row.oracle]) for rows in columns]
    found = [{(row.method, row.variant): row for row in rows} for rows in columns]

    def cell(row: Standing | None, best_score: float | None) -> Cell | None:
        if row is None:
            return None
        top = not row.oracle and row.score == best_score
        return Cell(
            score=score(row),
            difference=difference(row.versus_source_ft),
            sd="" if row.seed_sd is None else f"sd {number(row.seed_sd)}",
            bold=top and helps(task, row.versus_source_ft) > 0,
            baseline_best=top and row.method == "source-ft",
            headline=row.headline,
        )

    return [
        Line(
            method,
            variant,
            oracle,
            [cell(rows.get((method, variant)), top) for rows, top in zip(found, tops, strict=True)],
        )
        for method, variant, oracle in sorted(names, key=lambda name: name[2])
    ]


def floor(results: Results, task: Task) -> list[tuple[str, list[str]]]:
    """What takes no skill, by column: the majority class and chance, where they are defined."""
    found: list[tuple[str, list[float | None]]] = []
    if task.majority is not None:
        found.append(("majority class", [task.majority.get(target) for target in results.targets]))
    if task.chance is not None:
        found.append(("chance", [task.chance] * len(results.targets)))
    if task.means:
        for _, values in found:
            known = [value for value in values if value is not None]
            values.append(sum(known) / len(known) if len(known) == len(values) else None)
    return [(name, ["" if v is None else number(v) for v in values]) for name, values in found]
