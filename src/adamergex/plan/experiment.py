"""From a recipe to the one step that needs all the others."""

from __future__ import annotations

from typing import Any

from adamergex.methods import METHODS, Row, Workshop
from adamergex.recipe import Recipe
from adamergex.step import Step

__all__ = ["planned"]


def planned(recipe: Recipe) -> Step:
    """The step `results`, whose inputs are the whole experiment.

    Dev scores go into `select` steps, which hand on the adapter that they chose; test scores go
    into `results` and nowhere else.
    """
    shop = Workshop(recipe)
    inputs: dict[str, Step] = {}
    table: list[dict[str, Any]] = []
    for target in recipe.targets:
        for method in METHODS.values():
            for row in method(shop, target):
                entry, needed = _entry(shop, target, row, len(table))
                table.append(entry)
                inputs |= needed
        inputs |= {
            f"geometry.{target}.{name}": _geometry(shop, target, name) for name in recipe.references
        }
    source_score = shop.scored(shop.task_adapter(recipe.source), recipe.source, "test", label="T")
    inputs["source"] = source_score
    config = {"rows": table, "targets": list(recipe.targets), "references": list(recipe.references)}
    return Step("results", config, inputs, label="results")


def _entry(
    shop: Workshop, target: str, row: Row, number: int
) -> tuple[dict[str, Any], dict[str, Step]]:
    """One row of the table: what it is called, and the steps that its numbers come from."""
    entry = {
        "target": target,
        "method": row.method,
        "variant": row.variant,
        "headline": row.headline,
    }
    needed: dict[str, Step] = {}
    adapter = row.settings[0].adapter
    if len(row.settings) > 1:
        adapter = needed[f"select.{number}"] = _selected(shop, target, row)
    name = " ".join(filter(None, (row.method, row.variant)))
    needed[f"test.{number}"] = shop.scored(adapter, target, "test", label=name)
    return entry, needed


def _selected(shop: Workshop, target: str, row: Row) -> Step:
    inputs: dict[str, Step] = {}
    for i, setting in enumerate(row.settings):
        assert setting.adapter is not None
        inputs[f"adapter.{i}"] = setting.adapter
        inputs[f"dev.{i}"] = shop.scored(setting.adapter, target, "dev", label=setting.label)
    config = {
        "scales": [c.scale for c in row.settings],
        "labels": [c.label for c in row.settings],
    }
    return Step("select", config, inputs, label=f"choose {row.method} {row.variant}, {target}")


def _geometry(shop: Workshop, target: str, reference: str) -> Step:
    """How the divergence lies to T, and to the divergence of the target task itself."""
    source = shop.recipe.source
    inputs = {
        "task": shop.task_adapter(source),
        "reference_target": shop.reference(reference, target),
        "reference_source": shop.reference(reference, source),
        "oracle": shop.task_adapter(target),
    }
    return Step("geometry", {}, inputs, label=f"geometry {reference}, {target}")
