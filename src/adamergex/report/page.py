"""report.html: one page that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from adamergex.report.figures import curve_figure, geometry_figure
from adamergex.report.table import difference_text, score_text, verdict

__all__ = ["write_page"]


def write_page(path: Path, results: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Writes the report of an experiment.

    Args:
        path: The file to make.
        results: What results.json holds.
        names: Language code -> name.
    """
    environment = Environment(
        loader=PackageLoader("adamergex.report"), autoescape=select_autoescape(), trim_blocks=True
    )
    environment.filters.update(score=score_text, difference=difference_text)
    targets = [_target(results, target, names) for target in results["targets"]]
    page = environment.get_template("report.html").render(results=results, targets=targets)
    path.write_text(page, encoding="utf-8")


def _target(results: Mapping[str, Any], target: str, names: Mapping[str, str]) -> dict[str, Any]:
    rows = [row for row in results["rows"] if row["target"] == target]
    curves = [r for r in rows if "dev" in r and not r.get("headline")]
    merging = [r for r in curves if r["method"] in ("adamergex", "add-reference")]
    return {
        "name": names.get(target, target),
        "rows": rows,
        "verdict": verdict(results, target, names),
        "curve": Markup(curve_figure(merging)),
        "geometry": Markup(geometry_figure(results["geometry"][target])),
        "alignment": results["geometry"][target],
    }
