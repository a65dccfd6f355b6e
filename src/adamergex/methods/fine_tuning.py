"""Fine-tuning with labels: in the source language (the baseline), in the target's (the oracle)."""

from adamergex.methods.rows import Row, Setting, Workshop

__all__ = ["source_ft", "target_ft"]


def source_ft(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - T serves every target
    """T as it is."""
    adapter = shop.task_adapter(shop.recipe.source)
    return [Row("source-ft", "", (Setting(0.0, "T", adapter),))]


def target_ft(shop: Workshop, target: str) -> list[Row]:
    """T trained on target labels; of those, the merging methods see only dev's, to choose by."""
    return [
        Row("target-ft", "oracle", (Setting(0.0, "T in the target", shop.task_adapter(target)),))
    ]
