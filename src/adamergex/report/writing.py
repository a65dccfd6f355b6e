"""All that a report writes, beside the results.json that it comes from."""

from __future__ import annotations

from pathlib import Path

from adamergex.report.export import csv_text, latex_text, markdown_text
from adamergex.report.page import page_text
from adamergex.report.reading import read_results

__all__ = ["write_report"]


def write_report(folder: Path) -> list[Path]:
    """Writes report.html, results.csv, table.md and table.tex into a run's folder.

    Args:
        folder: Holds results.json.

    Returns:
        The four files.

    Raises:
        InputError: results.json is missing, is not JSON, or does not have the schema; nothing is
            written then.
    """
    results = read_results(folder)
    texts = {
        "report.html": page_text(results),
        "results.csv": csv_text(results),
        "table.md": markdown_text(results),
        "table.tex": latex_text(results),
    }
    for name, text in texts.items():
        # One ending of lines on every system, so that the same results give the same bytes.
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]
