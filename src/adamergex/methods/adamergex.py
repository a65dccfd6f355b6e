"""AdaMergeX: T ⊕ t · (Rt ⊖ Rs) (arXiv 2402.18913)."""

from adamergex.methods.rows import Row, Setting, Workshop
from adamergex.step import Step

__all__ = ["adamergex"]


def adamergex(shop: Workshop, target: str) -> list[Row]:
    """A row for each reference task and space, and one that chooses among all of them on dev.

    The last is the one to deploy; it chooses among more settings than the rows of other methods.
    """
    task = shop.task_adapter(shop.recipe.source)
    rows: list[Row] = []
    everything = [Setting(0.0, "t=0", task)]
    for name, space in shop.recipe.merges:
        inputs = {
            "task": task,
            "reference_target": shop.reference(name, target),
            "reference_source": shop.reference(name, shop.recipe.source),
        }
        tried = [Setting(0.0, "t=0", task)]
        for t in shop.recipe.scales:
            label = f"merge t={t:g}, {name}, {space}, {target}"
            step = Step("merge", {"scale": t, "space": space}, inputs, label=label)
            tried.append(Setting(t, f"t={t:g}", step))
            everything.append(Setting(t, f"{name}, {space}, t={t:g}", step))
        rows.append(Row("adamergex", f"{name}, {space}", tuple(tried)))
    return [*rows, Row("adamergex", "best on dev", tuple(everything), headline=True)]
