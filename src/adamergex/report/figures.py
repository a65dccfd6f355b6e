"""Figures of the report, as SVG that takes the page's own text colour."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["curve_figure", "geometry_figure"]

_INK = "#010203"
"""A colour that nothing else has; in the SVG it is replaced by the page's text colour."""

_COLOURS = ("#3b7dd8", "#d9722e", "#2f9e6e", "#b0489f", "#8a7a2f", "#6b6fd6")
"""Told apart on white and on near-black, and by people with the common colour blindnesses."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adamergex",
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

Row = Mapping[str, Any]


def curve_figure(rows: Sequence[Row]) -> str:
    """Dev accuracy against t with standard errors: one line for each row that has a dev curve."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for i, row in enumerate(rows):
            x = [point["scale"] for point in row["dev"]]
            y = [point["accuracy"] for point in row["dev"]]
            e = [point["standard_error"] for point in row["dev"]]
            # Moved aside a little, so that the bars of several lines stay apart.
            shifted = [value + 0.008 * (i - (len(rows) - 1) / 2) for value in x]
            label = f"{row['method']}: {row['variant']}"
            axes.errorbar(
                shifted, y, yerr=e, marker="o", ms=4, capsize=2, lw=1.5,
                color=_COLOURS[i % len(_COLOURS)], label=label,
            )  # fmt: skip
        axes.set_xlabel("scale t")
        axes.set_ylabel("dev accuracy")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        return _svg(figure, "dev accuracy against the scale t")


def geometry_figure(geometry: Mapping[str, Mapping[str, Any]]) -> str:
    """By layer: cosine of Rt and Rs, and size of the divergence over T's, for each reference."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for i, (name, relations) in enumerate(geometry.items()):
            colour = _COLOURS[i % len(_COLOURS)]
            for axes, relation, value, label in (
                (upper, "references", "cosine", name),
                (lower, "divergence_to_task", "norm_ratio", None),
            ):
                layers = [p for p in relations[relation]["by_layer"] if p["layer"] >= 0]
                x = [point["layer"] for point in layers]
                axes.plot(x, [p[value] for p in layers], "o-", ms=3, color=colour, label=label)
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        upper.set_ylabel("cosine(Rt, Rs)")
        lower.set_ylabel("|Rt - Rs| / |T|")
        lower.set_xlabel("layer")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        return _svg(figure, "cosine and norm ratio by layer")


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # The page's style sets the size: the picture fills its column and keeps its shape.
    tag, _, rest = text.partition(">")
    text = re.sub(r' (?:width|height)="[^"]*"', "", tag) + ">" + rest
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
