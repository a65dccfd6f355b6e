"""Figures of the report, as SVG that takes the page's own text colour.

A figure holds no text but numbers and the words below; the names of its lines stand beside it, in
the page, which knows how to escape and to wrap them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from adamergex.report.reading import Geometry, Point, Relation, Row

__all__ = ["Drawing", "Stroke", "curve", "curves", "geometry"]

_INK = "#010203"
"""A colour that nothing else has; in the SVG it is replaced by the page's text colour."""

_COLOURS = ("#3b7dd8", "#d9722e", "#2f9e6e", "#b0489f", "#8a7a2f", "#6b6fd6")
"""Told apart on white and on near-black, and by people with the common colour blindnesses."""

_DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))
"""With the colours run through, the next line is told apart by its dashes."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Stroke:
    """How a line is drawn, for the legend."""

    label: str
    colour: str
    dashes: tuple[float, ...]


@dataclass(frozen=True)
class Drawing:
    """A figure and what its lines are."""

    svg: Markup
    legend: list[Stroke]


def curve(row: Row) -> list[Point]:
    """A row's score at each scale tried, mean over seeds; empty where there is no such curve.

    The standard error is the seeds' mean as well: their items are the same, so that more seeds do
    not make it smaller. A row that tried several settings at one scale (it chooses among the other
    rows' settings) has no curve.
    """
    by_scale: dict[float, list[Point]] = {}
    for run in row.runs:
        points = [point for point in run.dev or () if point.scale is not None]
        if len({point.scale for point in points}) < len(points):
            return []
        for point in points:
            by_scale.setdefault(point.scale or 0.0, []).append(point)
    return [
        Point(label=points[0].label, scale=scale, score=_mean([p.score for p in points]) or 0.0,
              standard_error=_mean([p.standard_error for p in points]))
        for scale, points in sorted(by_scale.items())
    ] if len(by_scale) > 1 else []  # fmt: skip


def curves(named: Mapping[str, Sequence[Point]], key: str) -> Drawing | None:
    """Score against scale with standard errors, one line for each name; None without lines.

    Args:
        named: Label -> points.
        key: What tells this figure from the others of the page.
    """
    strokes = _strokes(named)
    if not strokes:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        axes = figure.subplots()
        scales = [point.scale or 0.0 for points in named.values() for point in points]
        width = (max(scales) - min(scales)) / 120
        for i, (stroke, points) in enumerate(zip(strokes, named.values(), strict=True)):
            # Moved aside a little, so that the bars of several lines stay apart.
            aside = width * (i - (len(strokes) - 1) / 2)
            axes.errorbar(
                [(point.scale or 0.0) + aside for point in points],
                [point.score for point in points],
                yerr=[point.standard_error or 0.0 for point in points],
                marker="o", ms=4, capsize=2, lw=1.5, color=stroke.colour,
                dashes=stroke.dashes or (None, None),
            )  # fmt: skip
        axes.set_xlabel("scale")
        axes.set_ylabel("score")
        return Drawing(_svg(figure, "score against the scale"), strokes)


def geometry(found: Mapping[str, Geometry], key: str) -> Drawing | None:
    """By layer: cosine of Rt and Rs, and size of the divergence over T's, for each reference."""
    layered = {name: g for name, g in found.items() if _layers(g.references)}
    strokes = _strokes(layered)
    if not strokes:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(4.8, 3.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for stroke, relations in zip(strokes, layered.values(), strict=True):
            for axes, relation, value in (
                (upper, relations.references, "cosine"),
                (lower, relations.divergence_to_task, "norm_ratio"),
            ):
                points = [(p.layer, _drawn(getattr(p, value))) for p in _layers(relation)]
                axes.plot(
                    [x for x, _ in points], [y for _, y in points], marker="o", ms=3,
                    color=stroke.colour, dashes=stroke.dashes or (None, None),
                )  # fmt: skip
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        upper.set_ylabel("cosine(Rt, Rs)")
        lower.set_ylabel("|Rt - Rs| / |T|")
        lower.set_xlabel("layer")
        return Drawing(_svg(figure, "cosine and norm ratio by layer"), strokes)


def _strokes(names: Mapping[str, Any]) -> list[Stroke]:
    colours, dashes = len(_COLOURS), len(_DASHES)
    return [
        Stroke(name, _COLOURS[i % colours], _DASHES[i // colours % dashes])
        for i, name in enumerate(names)
    ]


def _layers(relation: Relation) -> list[Any]:
    return [point for point in relation.by_layer if point.layer >= 0]


def _drawn(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _svg(figure: Figure, title: str) -> Markup:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # The page's style sets the size: the picture fills its column and keeps its shape.
    tag, _, rest = text.partition(">")
    text = re.sub(r' (?:width|height)="[^"]*"', "", tag) + ">" + rest
    # Several figures share the page: only identifiers that are referred to stay, and each figure's
    # own salt makes them differ.
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    # Safe: matplotlib wrote it, from numbers and from the words of this file.
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))
