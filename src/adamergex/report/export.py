"""The results for other programs and for papers: CSV, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from adamergex.report.overview import Cell, Line, floor, lines
from adamergex.report.reading import Results, Row, Task
from adamergex.report.text import caveats, metric_name

__all__ = ["csv_text", "latex", "latex_text", "markdown", "markdown_text"]

_COLUMNS = (
    "task", "target", "language", "method", "variant", "headline", "seed", "metric", "score",
    "setting", "scale", "row_score", "row_standard_error", "row_seed_sd", "n",
    "versus_source_ft", "versus_low", "versus_high", "versus_p", "versus_p_holm",
    "gap_closed", "gap_low", "gap_high",
)  # fmt: skip
_ABSENT = "–"


def csv_text(results: Results) -> str:
    """One line for each task, target, method, variant and seed.

    `score`, `setting` and `scale` are the seed's own; from `row_score` on, a column says the same
    on each line of a row. Every metric has a column `metrics.NAME` at the end.
    """
    metrics = dict.fromkeys(
        name for task in results.tasks for row in task.rows for name in row.metrics
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"metrics.{name}" for name in metrics)])
    for task in results.tasks:
        for row in task.rows:
            shared = [*_shared(row), *(row.metrics.get(name) for name in metrics)]
            for run in row.runs:
                name = (task.task, row.target, results.language(row.target), row.method)
                own = (*name, row.variant, row.headline, run.seed, task.metric, run.score)
                values = [*own, run.setting, run.scale, *shared]
                writer.writerow([_inert(v) if isinstance(v, str) else v for v in values])
    return buffer.getvalue()


def _shared(row: Row) -> list[float | None]:
    versus = row.versus_source_ft
    compared = (
        (versus.difference, versus.low, versus.high, versus.p, versus.p_holm) if versus else ()
    )
    gap = (row.gap_closed, *(row.gap_interval or (None, None)))
    return [row.score, row.standard_error, row.seed_sd, row.n, *(compared or (None,) * 5), *gap]


def _inert(text: str) -> str:
    """`text` as a spreadsheet shows it; one that begins like a formula gets an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text


def markdown(text: str) -> str:
    """`text` as Markdown that says just that."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", text)


def markdown_text(results: Results) -> str:
    """A table for each task: methods by languages."""
    return "\n".join(_markdown_task(results, task) for task in results.tasks)


def _markdown_task(results: Results, task: Task) -> str:
    heads = [f"{results.language(t)} (n = {task.n_test.get(t, '?')})" for t in results.targets]
    heads += ["mean"] * bool(task.means)
    table = [["method", *map(markdown, heads)], ["---"] * (1 + len(heads))]
    for line in lines(results, task):
        cells = [_markdown_cell(cell) for cell in line.cells]
        table.append([markdown(_named(line)), *cells])
    table += [
        [name, *(value or _ABSENT for value in values)] for name, values in floor(results, task)
    ]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    notes = markdown(" ".join(caveats(results, task)))
    return f"### {markdown(task.task)}: {markdown(metric_name(task.metric))}\n\n{body}\n\n{notes}\n"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return _ABSENT
    shown = f"**{cell.score}**" if cell.bold else cell.score
    return "<br>".join(filter(None, (shown + " †" * cell.baseline_best, cell.difference, cell.sd)))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$^{\dagger}$",
    "–": "--",
    # After the end of a line these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
    **{c: f"\\{c}" for c in "{}$&#_%"},
}


def latex(text: str) -> str:
    """`text` as LaTeX that says just that."""
    return "".join(_LATEX.get(c, c) for c in text)


def latex_text(results: Results) -> str:
    """A table environment for each task: methods by languages. Needs the package booktabs."""
    head = "% \\usepackage{booktabs}\n"
    return head + "\n".join(
        _latex_task(results, task, i) for i, task in enumerate(results.tasks, start=1)
    )


def _latex_task(results: Results, task: Task, number: int) -> str:
    found = lines(results, task)
    fair, oracles = ([x for x in found if x.oracle is oracle] for oracle in (False, True))
    heads = [latex(results.language(target)) for target in results.targets]
    heads += ["mean"] * bool(task.means)
    groups = [
        [row for line in fair for row in _latex_line(line)],
        [row for line in oracles for row in _latex_line(line)],
        [[name, *(value or "--" for value in values)] for name, values in floor(results, task)],
    ]
    body = "\n\\midrule\n".join(
        "\n".join(f"{' & '.join(row)} \\\\" for row in group) for group in groups if group
    )
    title = latex(f"{task.task}: {metric_name(task.metric)}")
    notes = latex(" ".join(caveats(results, task)))
    return (
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}\n\\toprule\n"
        f"{' & '.join(['method', *heads])} \\\\\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}\n\\caption[{{{title}}}]{{{title}. {notes}}}\n"
        f"\\label{{tab:transfer-{number}}}\n"
        "\\end{table}\n"
    )


def _latex_line(line: Line) -> list[list[str]]:
    """A row of scores and, under it in small type, one of differences and deviations."""
    above = [_each(cell, _latex_score) for cell in line.cells]
    below = [_each(cell, _latex_small, "") for cell in line.cells]
    return [[latex(_named(line)), *above], *([["", *below]] if any(below) else [])]


def _each(cell: Cell | None, write: Callable[[Cell], str], absent: str = "--") -> str:
    return absent if cell is None else write(cell)


def _latex_score(cell: Cell) -> str:
    shown = latex(cell.score + "†" * cell.baseline_best)
    return f"\\textbf{{{shown}}}" if cell.bold else shown


def _latex_small(cell: Cell) -> str:
    parts = [latex(part).replace("-", "$-$") for part in (cell.difference, cell.sd) if part]
    return f"{{\\scriptsize {', '.join(parts)}}}" if parts else ""


def _named(line: Line) -> str:
    notes = [line.variant] if line.variant else []
    if line.oracle and line.variant != "oracle":
        notes.append("oracle")
    if line.headline:
        notes.append("to deploy")
    return f"{line.method} ({', '.join(notes)})" if notes else line.method
