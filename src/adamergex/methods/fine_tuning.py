"""Fine-tuning with labels: of the source language, of the target's (the oracle), of dev alone."""

from collections.abc import Mapping
from typing import Any

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["few_shot", "source_ft", "target_ft", "target_ft_fresh"]


def source_ft(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - T serves every target
    """T as it is: what merging has to beat."""
    adapter = shop.task_adapter(shop.recipe.source)
    return [Row("source-ft", "", (Setting(0.0, "T", adapter),))]


def target_ft(shop: Workshop, target: str) -> list[Row]:
    """T trained on, on all target labels: the oracle, which has seen the source labels, too."""
    adapter = _trained_on(shop, target, "train", shop.recipe.training.per_step.target_ft.given())
    return [Row("target-ft", "oracle", (Setting(0.0, "T trained on in the target", adapter),))]


def target_ft_fresh(shop: Workshop, target: str) -> list[Row]:
    """Trained on all target labels and on nothing else, as publications have their oracle."""
    adapter = shop.task_adapter(target)
    return [Row("target-ft-fresh", "oracle", (Setting(0.0, "T in the target", adapter),))]


def few_shot(shop: Workshop, target: str) -> list[Row]:
    """T trained on, on the dev labels by which other rows choose their settings; nothing else.

    The rival of equal labels: it needs no text and no reference, and has nothing left to choose by.
    """
    adapter = _trained_on(shop, target, "dev", shop.recipe.training.per_step.few_shot.given())
    return [Row("few-shot", "dev labels", (Setting(0.0, "T trained on, on dev", adapter),))]


def _trained_on(shop: Workshop, target: str, split: str, overrides: Mapping[str, Any]) -> Step:
    rows = shop.catalog.rows(shop.task, target, split)
    source = shop.task_adapter(shop.recipe.source)
    label = f"{shop.task.name}, {target}, {split} labels, from T"
    return shop.trained(rows, label, overrides, start=source)
