"""report.html: one page that needs nothing else, not even a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader

from adamergex.report import text
from adamergex.report.figures import Drawing, curve, curves, geometry
from adamergex.report.overview import Line, floor, lines
from adamergex.report.reading import Cost, Results, Row, Task

__all__ = ["page_text"]


@dataclass(frozen=True)
class _Language:
    name: str
    key: str
    verdict: str
    rows: list[Row]
    oracles: list[Row]
    seeds: bool
    compared: bool
    gaps: bool
    curves: Drawing | None
    arimerge: bool
    geometry: Drawing | None
    relations: Any


@dataclass(frozen=True)
class _Part:
    task: Task
    metric: str
    chosen_by: str
    caveats: list[str]
    lines: list[Line]
    oracles: list[Line]
    floor: list[tuple[str, list[str]]]
    languages: list[_Language]


@dataclass(frozen=True)
class _Total:
    """Costs of several steps: sums, but of memory the most that one step held."""

    kind: str
    count: int
    seconds: float
    tokens: int | None
    peak_memory: int | None


def page_text(results: Results) -> str:
    """The report of an experiment, as HTML."""
    environment = Environment(
        loader=PackageLoader("adamergex.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        difference=text.difference,
        gap=text.gap,
        gib=_gib,
        number=text.number,
        score=text.score,
        settings=text.settings,
        signed=lambda value: "not defined" if value is None else f"{value:+.3f}",
    )
    return environment.get_template("report.html").render(
        results=results,
        facts=text.facts(results),
        selection=text.selection(results),
        parts=[_part(results, task, i) for i, task in enumerate(results.tasks, start=1)],
        costs=sorted(results.costs, key=lambda cost: -cost.seconds),
        kinds=_kinds(results.costs),
        total=_total("all", results.costs),
        versions=text.versions(results),
    )


def _part(results: Results, task: Task, number: int) -> _Part:
    found, metric = lines(results, task), text.metric_name(task.metric)
    return _Part(
        task=task,
        metric=metric,
        chosen_by=text.selection(results).score.format(metric=metric),
        caveats=text.caveats(results, task),
        lines=[line for line in found if not line.oracle],
        oracles=[line for line in found if line.oracle],
        floor=floor(results, task),
        languages=[
            _language(results, task, target, f"task-{number}-language-{i}")
            for i, target in enumerate(results.targets, start=1)
        ],
    )


def _language(results: Results, task: Task, target: str, key: str) -> _Language:
    rows = task.of(target)
    curved = {text.row_name(row): points for row in rows if (points := curve(row))}
    relations = task.geometry.get(target, {})
    return _Language(
        name=results.language(target),
        key=key,
        verdict=text.verdict(results, task, target),
        rows=[row for row in rows if not row.oracle],
        oracles=[row for row in rows if row.oracle],
        seeds=any(row.seed_sd is not None for row in rows),
        compared=any(row.versus_source_ft for row in rows),
        gaps=any(text.gap(row) for row in rows),
        curves=curves(curved, f"{key}-curves"),
        arimerge=any(row.method == "arimerge" and curve(row) for row in rows),
        geometry=geometry(relations, f"{key}-geometry"),
        relations=relations,
    )


def _kinds(costs: Sequence[Cost]) -> list[_Total]:
    by_kind: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        by_kind[cost.kind].append(cost)
    totals = [_total(kind, part) for kind, part in by_kind.items()]
    return sorted(totals, key=lambda total: -total.seconds)


def _total(kind: str, costs: Sequence[Cost]) -> _Total:
    tokens = [cost.tokens for cost in costs if cost.tokens is not None]
    memory = [cost.peak_memory for cost in costs if cost.peak_memory is not None]
    return _Total(
        kind=kind,
        count=len(costs),
        seconds=sum(cost.seconds for cost in costs),
        tokens=sum(tokens) if tokens else None,
        peak_memory=max(memory, default=None),
    )


def _gib(value: int) -> str:
    return f"{value / 2**30:.2f} GiB"
