"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adamergex.checkpoint import serving_rank
from adamergex.errors import printable

__all__ = ["merge_lines", "print_inspection"]

Facts = Mapping[str, Any]


def merge_lines(facts: Facts) -> Iterator[str]:
    """What `adamergex merge` says."""
    verb = "merged" if facts["written"] else "would merge"
    rank = f", rank {facts['rank']}" if facts["rank"] else ""
    size = facts["bytes"] / 2**20
    yield (
        f"{verb} {facts['modules']} modules of {facts['structure']} at scale {facts['scale']:g}: "
        f"{facts['space']} space{rank}, {facts['dtype']}, {size:.1f} MiB"
    )
    if facts["rank"]:
        if facts["exact"] and facts["space"] == "weight":
            yield "exact: the sum of the three weight updates, nothing cut off"
        elif facts["space"] == "factor":
            yield "as published: A and B one by one, which is not the sum of the weight updates"
        elif facts["written"]:
            worst = facts["worst_module"] or "none"
            yield (
                f"relative error of the approximation {facts['relative_error']:.4f}; "
                f"worst module {worst} {facts['worst_module_error']:.4f}; "
                f"storing in {facts['dtype']} comes on top"
            )
        yield _serving(facts)
    if facts.get("guarded_elements"):
        yield f"{facts['guarded_elements']} elements kept from the task: their source is near zero"
    if facts["kept_from_task"]:
        yield f"kept whole from the task adapter: {', '.join(facts['kept_from_task'])}"
    if facts["ignored_in_references"]:
        yield f"ignored in the references: {', '.join(facts['ignored_in_references'])}"
    yield (
        str(facts["output"]) if facts["written"] else f"{facts['output']}: not written (--dry-run)"
    )


def _serving(facts: Facts) -> str:
    if not facts["servable"]:
        return "more than plain LoRA: servers that load only that cannot serve it as an adapter"
    allowed = serving_rank(facts["rank"])
    vllm = f"vLLM: --max-lora-rank {allowed}" if allowed else "more than vLLM takes: use --rank"
    return f"a server must allow rank {facts['rank']} ({vllm})"


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
