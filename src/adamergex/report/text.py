"""The words of the report: how a number is written, and what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamergex.report.fields import one_line
from adamergex.report.naming import told_name
from adamergex.report.reading import (
    Results,
    Row,
    Score,
    Standing,
    Task,
    Version,
    Versus,
)

__all__ = [
    "Selection",
    "best",
    "caveats",
    "difference",
    "drawn",
    "facts",
    "gap",
    "helps",
    "interval_of",
    "metric_name",
    "number",
    "row_name",
    "score",
    "selection",
    "settings",
    "verdict",
    "versions",
]

_METRICS = {
    "acc": "accuracy",
    "acc_norm": "length-normalised accuracy",
    "bleu": "BLEU",
    "chrf": "chrF",
    "em": "exact match",
    "exact_match": "exact match",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "rougeL": "ROUGE-L",
}


@dataclass(frozen=True)
class Selection:
    """How settings were chosen, in words.

    Attributes:
        heading: Of a column of settings.
        sentence: For the reader of the table.
        score: What a setting was chosen by; may name the task's `{metric}`.
    """

    heading: str
    sentence: str
    score: str


_SELECTIONS = {
    "dev": Selection(
        "chosen on dev",
        "Settings were chosen on labelled dev items of the target language, never on test items: "
        "rows with a setting have seen labels that the others, oracle aside, have not.",
        "dev {metric}",
    ),
    "unlabelled": Selection(
        "chosen without labels",
        "Settings were chosen without any label of the target language, never on test items.",
        "score without labels",
    ),
    "divergence": Selection(
        "chosen without labels",
        "Settings were chosen without any label of the target language, never on test items: by "
        "how near their answers are to the task adapter's to the same in the source language.",
        "divergence, negative",
    ),
    "fixed": Selection(
        "fixed setting",
        "Settings were fixed in the recipe: nothing was chosen in the target language.",
        "score",
    ),
}
_UNKNOWN = Selection("setting", "The recipe does not say how settings were chosen.", "score")


def selection(results: Results) -> Selection:
    """The words for the recipe's scale.select."""
    scale = results.recipe.get("scale")
    way = scale.get("select") if isinstance(scale, Mapping) else None
    return _SELECTIONS.get(way, _UNKNOWN) if isinstance(way, str) else _UNKNOWN


def metric_name(metric: str) -> str:
    """What people call a metric."""
    return _METRICS.get(metric, metric)


def number(value: float) -> str:
    """Three decimals, as long as that is short."""
    return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 1e6 else f"{value:+.4g}"


def score(found: Score) -> str:
    """A score with its standard error."""
    if found.standard_error is None:
        return number(found.score)
    return f"{number(found.score)} ± {number(found.standard_error)}"


def difference(versus: Versus | None) -> str:
    """A difference with its interval; empty where there is none."""
    if versus is None:
        return ""
    return f"{_signed(versus.difference)} [{_signed(versus.low)}, {_signed(versus.high)}]"


def drawn(task: Task) -> str:
    """How the interval of the mean over languages treats what they may have in common."""
    if len(set(task.n_test.values())) == 1:
        return "its interval draws an item for all languages at once, as translations need it"
    return "its interval draws languages with other numbers of items apart, as if unrelated"


def gap(row: Row) -> str:
    """The share of the oracle's gain; empty where it means nothing, as without any labels."""
    if row.gap_closed is None or row.method == "zero-shot":
        return ""
    share = f"{100 * row.gap_closed:.0f}%"
    if row.gap_interval is None:
        return share
    low, high = row.gap_interval
    return f"{share} [{100 * low:.0f}, {100 * high:.0f}]"


def row_name(row: Standing) -> str:
    """Method and variant."""
    return f"{row.method} ({row.variant})" if row.variant else row.method


def settings(row: Row) -> str:
    """The setting, or each seed's where they differ; empty where there was nothing to set."""
    found = [run.setting or "" for run in row.runs]
    if len(set(found)) == 1:
        return found[0]
    return "; ".join(f"seed {run.seed}: {run.setting or 'none'}" for run in row.runs)


def helps(task: Task, versus: Versus | None) -> int:
    """1 where the difference is for the better, -1 for the worse, 0 where it may be none.

    By p after Holm's correction; by the interval where there is no such p.
    """
    if versus is None:
        return 0
    p = versus.p_holm
    if (versus.low <= 0 <= versus.high) if p is None else p >= 0.05:
        return 0
    return 1 if (versus.low + versus.high > 0) == task.higher_is_better else -1


def corrected(versus: Versus) -> str:
    """What a sentence says of p after Holm's correction; empty where there is none."""
    if versus.p_holm is None:
        return ""
    return f"; p {number(versus.p_holm)}" if versus.p_holm >= 0.0005 else "; p < 0.001"


def best(task: Task, rows: Sequence[Standing]) -> float | None:
    """The best score of `rows`."""
    choose = max if task.higher_is_better else min
    return choose((row.score for row in rows), default=None)


def verdict(results: Results, task: Task, target: str) -> str:
    """One sentence on whether the row to deploy helped in this language."""
    rows = task.of(target)
    language = results.language(target)
    ours = next((row for row in rows if row.headline), None)
    if ours is None:
        return f"{language}: no row is marked as the one to deploy{_best(task, rows)}."
    name = told_name(results, ours)
    how = settings(ours)
    who = f"{language}: {name} ({how})" if how else f"{language}: {name}"
    rivals = [row for row in rows if row.method != ours.method]
    versus = ours.versus_source_ft
    if versus is None:
        says = f"scores {score(ours)}, compared with no source fine-tuning"
        return f"{who} {says}{_best(task, rivals)}."
    says = {
        1: "is better than source fine-tuning",
        -1: "is worse than source fine-tuning",
        0: "cannot be told apart from source fine-tuning",
    }[helps(task, versus)]
    gain = difference(versus) + corrected(versus)
    return f"{who} {says} ({gain}){_best(task, rivals, 'rival on test')}."


def _best(task: Task, rows: Sequence[Row], what: str = "other row on test") -> str:
    fair = [row for row in rows if not row.oracle]
    top = best(task, fair)
    if top is None:
        return ""
    winner = next(row for row in fair if row.score == top)
    return f"; the best {what} is {row_name(winner)} at {score(winner)}"


def caveats(results: Results, task: Task) -> list[str]:
    """What the table's numbers say and what they do not, a sentence each."""
    seeds = len(results.seeds)
    sentences = [
        f"Scores are test {metric_name(task.metric)}"
        + ("" if task.higher_is_better else " (lower is better)")
        + ", on the same items in every row of a language.",
        "± is one standard error over test items.",
    ]
    if any(row.versus_source_ft for row in task.rows):
        sentences += _of_differences(task, seeds)
    if task.means:
        sentences.append(f"The mean counts every language the same; {drawn(task)}.")
    if seeds > 1:
        sentences.append(
            f"Scores are means over {seeds} seeds; their standard deviation (sd) says how far "
            "training runs differ, which ± does not."
        )
    else:
        sentences.append("One seed: how far training runs differ was not measured.")
    return [*sentences, selection(results).sentence]


def interval_of(task: Task, seeds: int) -> str:
    """Of what a difference's interval is, besides items."""
    known = (row.versus_source_ft for row in task.rows if row.versus_source_ft)
    old = any(versus.p is None for versus in known)
    return "items" if old or seeds == 1 else "seeds and items"


def _of_differences(task: Task, seeds: int) -> list[str]:
    over = interval_of(task, seeds)
    about = "" if over != "items" else ", and nothing about another training run"
    holm = any(row.versus_source_ft and row.versus_source_ft.p_holm for row in task.rows)
    rule, flatters = (
        ("p after Holm's correction for the rows of the column is below 0.05", "")
        if holm
        else (
            "its interval excludes 0",
            " It is picked on test among all rows and not corrected for their number, which "
            "flatters it.",
        )
    )
    return [
        "In brackets: 95% interval of the difference from source-ft, of the same items in both. "
        f"It says how far other {over} could move the difference{about}.",
        f"Bold: the best score of a column, oracle aside, if {rule}.{flatters} "
        "† marks the best score where it is source-ft itself.",
    ]


def versions(results: Results) -> list[str]:
    """Where rows were made with several versions of a package: which are, a sentence for each."""
    several: dict[str, list[Version]] = {}
    for made in results.versions:
        several.setdefault(made.package, []).append(made)
    return [
        f"Made with several versions of {package}: "
        + "; ".join(f"{made.version} ({_count(made)})" for made in found)
        + "."
        for package, found in several.items()
    ]


def _count(made: Version) -> str:
    behind = f", behind {len(made.rows)} of the rows" if made.rows else ""
    return f"{len(made.steps)} step{'s' * (len(made.steps) != 1)}{behind}"


def facts(results: Results) -> list[str]:
    """What was run, in short: model, adapter, languages, seeds."""
    adapter: Any = results.recipe.get("adapter")
    kind = adapter.get("type") if isinstance(adapter, Mapping) else adapter
    model = results.recipe.get("model")
    to = ", ".join(results.language(target) for target in results.targets)
    return [
        *(one_line(part) for part in (model, kind) if isinstance(part, str)),
        f"{results.language(results.source)} to {to}",
        f"{len(results.seeds)} seed{'' if len(results.seeds) == 1 else 's'}",
    ]
