"""Methods that add adapters with weights: T + t Rt, and language-and-task arithmetic."""

from collections.abc import Callable, Mapping

from adamergex.methods.rows import Row
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["add_reference", "language_task_arithmetic"]


def add_reference(shop: Workshop, target: str) -> list[Row]:
    """T + t Rt: the control for the subtraction. If it does as well, Rs was not needed."""
    return _row("add-reference", shop, target, lambda t: {"task": 1.0, "reference_target": t})


def language_task_arithmetic(shop: Workshop, target: str) -> list[Row]:
    """(1 - t) T + t (Rt - Rs): language and task arithmetic (arXiv 2311.09344), with λ = 1 - t."""
    return _row(
        "language-task-arithmetic",
        shop,
        target,
        lambda t: {"task": 1 - t, "reference_target": t, "reference_source": -t},
    )


def _row(
    method: str, shop: Workshop, target: str, weights: Callable[[float], Mapping[str, float]]
) -> list[Row]:
    reference = shop.recipe.reference[0]
    roles = shop.references(reference, target)

    def made(t: float) -> Step:
        chosen = weights(t)
        inputs = {role: step for role, step in roles.items() if role in chosen}
        config = {"rule": method, "weights": dict(chosen), "scale": t}
        return Step("weighted", config, inputs, label=f"{method} t={t:g}, {target}")

    return [Row(method, reference.title, shop.settings(made))]
