"""AdaMergeX: T ⊕ t · (Rt ⊖ Rs) (arXiv 2402.18913)."""

from adamergex.methods.rows import Candidate, Row, Workshop
from adamergex.step import Step

__all__ = ["adamergex"]


def adamergex(shop: Workshop, target: str) -> list[Row]:
    """A row for each reference task and space."""
    task = shop.task_adapter(shop.recipe.source)
    rows: list[Row] = []
    for name, space in shop.recipe.merges:
        inputs = {
            "task": task,
            "reference_target": shop.reference(name, target),
            "reference_source": shop.reference(name, shop.recipe.source),
        }
        tried = [Candidate(0.0, "t=0", task)]
        for t in shop.recipe.scales:
            label = f"merge t={t:g}, {name}, {space}, {target}"
            step = Step("merge", {"scale": t, "space": space}, inputs, label=label)
            tried.append(Candidate(t, f"t={t:g}", step))
        rows.append(Row("adamergex", f"{name}, {space}", tuple(tried)))
    return rows
