"""How `adamergex inspect` looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adamergex.cli.printing import merge_lines
from adamergex.errors import printable

__all__ = ["print_inspection"]

Facts = Mapping[str, Any]


def print_inspection(facts: Facts) -> None:
    """What `adamergex inspect` says."""
    console = Console(highlight=False)
    for adapter in facts["adapters"]:
        console.print(_description(adapter))
    comparison = facts.get("comparison")
    if comparison is None:
        return
    if not comparison["compatible"]:
        console.print(f"[bold]not compatible[/]: {_shown(comparison['problem'])}")
        return
    console.print("[bold]compatible[/]")
    relations = {pair["pair"]: pair for pair in comparison["pairs"]}
    if "divergence_to_task" in comparison:
        relations["(Rt - Rs) ~ T"] = comparison["divergence_to_task"]
    console.print(_relations(relations))
    if "merge" in comparison:
        for line in merge_lines({**comparison["merge"], "written": False, "output": "a merge"}):
            console.print(_shown(line))


def _shown(text: str) -> str:
    """`text` as it is, whatever rich or a terminal would make of it."""
    return escape(printable(text))


def _description(adapter: Facts) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]adapter[/]", f"[bold]{_shown(adapter['name'])}[/]")
    for key, value in adapter.items():
        if key == "name" or value in ([], None):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        text = f"{text:.4g}" if isinstance(text, float) else text
        table.add_row(key.replace("_", " "), _shown(str(text)))
    return table


def _relations(relations: Mapping[str, Facts]) -> Table:
    table = Table(title="cosine and norm ratio of weight updates")
    table.add_column("layer", justify="right")
    for name in relations:
        table.add_column(_shown(name), justify="right")
    layers = [row["layer"] for row in next(iter(relations.values()))["by_layer"]]
    for i, layer in enumerate(layers):
        cells = (_cell(relation["by_layer"][i]) for relation in relations.values())
        table.add_row("other" if layer < 0 else str(layer), *cells)
    table.add_section()
    table.add_row("all", *(_cell(relation) for relation in relations.values()))
    return table


def _cell(relation: Facts) -> str:
    cosine, ratio = relation["cosine"], relation["norm_ratio"]
    return "-" if cosine is None or ratio is None else f"{cosine:+.3f}  {ratio:.2f}"
