"""Fine-tuning with labels: in the source language (the baseline), in the target's (the oracle)."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop

__all__ = ["source_ft", "target_ft"]


def source_ft(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - T serves every target
    """The task adapter as it is: what every other method has to beat."""
    adapter = shop.task_adapter(shop.recipe.source)
    return [Row("source-ft", "", (Setting(0.0, "T", adapter),))]


def target_ft(shop: Workshop, target: str) -> list[Row]:
    """Trained on target labels (oracle); merging methods see only those of dev, to choose by."""
    adapter = shop.task_adapter(target)
    return [Row("target-ft", "oracle", (Setting(0.0, "T in the target", adapter),))]
