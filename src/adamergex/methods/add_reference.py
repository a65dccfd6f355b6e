"""Adding the target reference without taking the source reference away: T + t Rt."""

from adamergex.methods.rows import Row, Setting, Workshop
from adamergex.step import Step

__all__ = ["add_reference"]


def add_reference(shop: Workshop, target: str) -> list[Row]:
    """The control for the subtraction: if it does as well, Rs was not needed."""
    task = shop.task_adapter(shop.recipe.source)
    name = shop.recipe.references[0]
    inputs = {"task": task, "reference_target": shop.reference(name, target)}
    tried = [Setting(0.0, "t=0", task)]
    for t in shop.recipe.scales:
        step = Step("add", {"scale": t}, inputs, label=f"T + {t:g} Rt, {target}")
        tried.append(Setting(t, f"t={t:g}", step))
    return [Row("add-reference", name, tuple(tried))]
