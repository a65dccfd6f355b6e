"""Label projection: T labels the source side of parallel text, the target side is trained on it."""

from collections.abc import Mapping
from typing import Any

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["projection", "projection_from_t", "projection_soft"]


def projection(shop: Workshop, target: str) -> list[Row]:
    """The fair rival wherever the text of the reference task is parallel; a fresh adapter.

    It sees the text of the first reference task, and no gold label beyond those that trained T.
    """
    adapter = _hard(shop, target, shop.recipe.training.per_step.projection.given())
    return [Row("projection", "parallel text", (Setting(0.0, "labels of T", adapter),))]


def projection_from_t(shop: Workshop, target: str) -> list[Row]:
    """The same, but T trained on: it starts as the reference task `distillation` does."""
    overrides = shop.recipe.training.per_step.projection_from_t.given()
    adapter = _hard(shop, target, overrides, start=shop.task_adapter(shop.recipe.source))
    return [Row("projection-from-t", "parallel text", (Setting(0.0, "labels of T", adapter),))]


def projection_soft(shop: Workshop, target: str) -> list[Row]:
    """A fresh adapter that learns how likely T finds each answer, and not which is likeliest.

    From T it is the reference task `distillation`, at t = 1.
    """
    adapter = shop.soft(target, shop.recipe.training.per_step.projection_soft.given())
    return [Row("projection-soft", "parallel text", (Setting(0.0, "answers of T", adapter),))]


def _hard(
    shop: Workshop, target: str, overrides: Mapping[str, Any], start: Step | None = None
) -> Step:
    """Trained on T's answers, as if they were true."""
    reference = shop.recipe.reference[0]
    labels = shop.labels(reference, shop.recipe.source)
    rows = shop.unlabelled(reference, target, projected=True)
    label = f"{shop.task.name}, projected labels, {target}{', from T' if start else ''}"
    return shop.trained(rows, label, overrides, labels=labels, start=start)
