"""The results table in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["difference_text", "print_table", "score_text", "verdict"]

Results = Mapping[str, Any]
Row = Mapping[str, Any]


def print_table(results: Results, names: Mapping[str, str], console: Console | None = None) -> None:
    """Prints the table of each target language, and in a line what it comes to."""
    console = console or Console(highlight=False)
    for target in results["targets"]:
        console.print(_table(results, target, names.get(target, target)))
        console.print(verdict(results, target, names), soft_wrap=True, markup=False)
        console.print()


def score_text(row: Row) -> str:
    """A score with its standard error."""
    return f"{row['accuracy']:.3f} ± {row['standard_error']:.3f}"


def difference_text(row: Row) -> str:
    """The difference from source-ft with its interval; empty for source-ft itself."""
    versus = row.get("versus_source_ft")
    if versus is None:
        return ""
    return f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"


def verdict(results: Results, target: str, names: Mapping[str, str]) -> str:
    """One sentence on whether AdaMergeX, as chosen on dev, helped in this language."""
    rows = [row for row in results["rows"] if row["target"] == target]
    ours = next(r for r in rows if r.get("headline"))
    versus = ours["versus_source_ft"]
    if versus["low"] > 0:
        says = "is better than source fine-tuning"
    elif versus["high"] < 0:
        says = "is worse than source fine-tuning"
    else:
        says = "cannot be told apart from source fine-tuning"
    rivals = [r for r in rows if r["method"] not in ("adamergex", "target-ft")]
    best = max(rivals, key=lambda r: r["accuracy"])
    return (
        f"{names.get(target, target)}: AdaMergeX ({ours['setting']}) {says} "
        f"({difference_text(ours)}); the best rival on test is {_name(best)} at {score_text(best)}."
    )


def _table(results: Results, target: str, name: str) -> Table:
    table = Table(
        title=f"{escape(name)}: test accuracy on {results['n_test']} items",
        box=SIMPLE_HEAD,
        caption=f"chance {results['chance']:.3f}, majority class {results['majority']:.3f}; "
        "± one standard error; differences with 95% paired bootstrap intervals",
    )
    for heading, justify in (
        ("method", "left"),
        ("chosen on dev", "left"),
        ("accuracy", "right"),
        ("against source-ft", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in results["rows"]:
        if row["target"] == target:
            table.add_row(
                escape(_name(row)),
                escape(row.get("setting", "")),
                score_text(row),
                escape(difference_text(row)),
            )
    return table


def _name(row: Row) -> str:
    return f"{row['method']} ({row['variant']})" if row["variant"] else str(row["method"])
