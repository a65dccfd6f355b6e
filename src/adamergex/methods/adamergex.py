"""AdaMergeX: T ⊕ t · (Rt ⊖ Rs) (arXiv 2402.18913)."""

from adamergex.methods.rows import Candidate, Row, Workshop
from adamergex.step import Step

__all__ = ["adamergex"]


def adamergex(shop: Workshop, target: str) -> list[Row]:
    """A row for each reference task and space, and one in which dev chooses among all of them."""
    task = shop.task_adapter(shop.recipe.source)
    rows: list[Row] = []
    for name in shop.recipe.references:
        for space in shop.recipe.spaces:
            merged = [_merged(shop, target, name, space, t) for t in shop.recipe.scales]
            start = Candidate(0.0, "t=0", task)
            rows.append(Row("adamergex", f"{name}, {space} space", (start, *merged)))
    everything = {c.label: c for row in rows for c in row.candidates}
    return [*rows, Row("adamergex", "chosen on dev", tuple(everything.values()))]


def _merged(shop: Workshop, target: str, name: str, space: str, t: float) -> Candidate:
    inputs = {
        "task": shop.task_adapter(shop.recipe.source),
        "reference_target": shop.reference(name, target),
        "reference_source": shop.reference(name, shop.recipe.source),
    }
    label = f"t={t:g}, {name}, {space}"
    step = Step("merge", {"scale": t, "space": space}, inputs, label=f"merge {label}, {target}")
    return Candidate(t, label, step)
