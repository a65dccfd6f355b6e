"""Label projection: T labels the source side of parallel text, the target side is trained on it."""

from collections.abc import Mapping
from typing import Any

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step
from adamergex.tasks import Data

__all__ = ["projection", "projection_from_t", "projection_soft", "projection_with_source"]


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


def projection_with_source(shop: Workshop, target: str) -> list[Row]:
    """A fresh adapter on T's gold source labels and the projected ones, in one training."""
    overrides = shop.recipe.training.per_step.projection_with_source.given()
    gold = shop.catalog.rows(shop.task, shop.recipe.source, "train")
    adapter = _hard(shop, target, overrides, beside=gold)
    setting = Setting(0.0, "source labels and labels of T", adapter)
    return [Row("projection-with-source", "parallel text", (setting,))]


def _hard(
    shop: Workshop,
    target: str,
    overrides: Mapping[str, Any],
    *,
    start: Step | None = None,
    beside: Data | None = None,
) -> Step:
    """Trained on T's answers, as if they were true; on rows that have labels beside them."""
    reference = shop.recipe.reference[0]
    labels = shop.labels(reference, shop.recipe.source)
    rows = shop.unlabelled(reference, target, projected=True)
    more = ", from T" if start else ""
    if beside is not None:
        more = f" and {shop.recipe.source} labels"
        parts = {"rows": "together", "of": [beside.config, rows.config]}
        rows = Data(parts, {**beside.files, **rows.files})
    label = f"{shop.task.name}, projected labels, {target}{more}"
    return shop.trained(rows, label, overrides, labels=labels, start=start)
