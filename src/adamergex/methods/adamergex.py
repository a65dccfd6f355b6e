"""AdaMergeX: T ⊕ t · (Rt ⊖ Rs) (arXiv 2402.18913)."""

from dataclasses import replace
from typing import Any

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["adamergex"]


def adamergex(shop: Workshop, target: str) -> list[Row]:
    """The task adapter moved by the difference that the language makes to a reference task.

    A row for each reference task and space. Where these are several and the scale is chosen, one
    row more chooses among all of them: the one to deploy. It has more settings to choose from than
    the rows of other methods.
    """
    recipe = shop.recipe
    rows: list[Row] = []
    for reference in recipe.reference:
        inputs = shop.references(reference, target)
        for variant, options in _ways(shop, reference.title):

            def made(
                t: float, inputs: Any = inputs, name: str = variant, how: Any = options
            ) -> Step:
                label = f"merge t={t:g}, {name}, {target}"
                # A prefix whose Rs is T was merged in another way once.
                version = 2 if recipe.adapter.type == "prefix" else 1
                return Step("merge", {"scale": t, **how}, inputs, label=label, version=version)

            rows.append(Row("adamergex", variant, shop.settings(made)))
    if len(rows) == 1 or recipe.scale.select == "fixed":
        return [replace(rows[0], headline=True), *rows[1:]]
    zero = rows[0].settings[0]
    others = [
        Setting(setting.scale, f"{row.variant}, {setting.label}", setting.adapter)
        for row in rows
        for setting in row.settings[1:]
    ]
    return [*rows, Row("adamergex", "best of these", (zero, *others), headline=True)]


def _ways(shop: Workshop, reference: str) -> list[tuple[str, dict[str, Any]]]:
    """Each way to merge: what it is called, and the options of merging.merge."""
    merge = shop.recipe.merge
    match shop.recipe.adapter.type:
        case "lora":
            return [
                (f"{reference}, {space}", {"space": space, "rank": _rank(merge.rank, space)})
                for space in merge.space
            ]
        case "ia3":
            return [(reference, {"ia3": merge.ia3})]
        case "prefix":
            return [(reference, {})]


def _rank(rank: int | str, space: str) -> int | str:
    return rank if space == "weight" else "exact"  # factor space keeps the inputs' rank
