"""Fine-tuning with labels: in the source language (the baseline), in the target's (the oracle)."""

from adamergex.methods.rows import Candidate, Row, Workshop

__all__ = ["source_ft", "target_ft"]


def source_ft(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - T serves every target
    """T as it is."""
    adapter = shop.task_adapter(shop.recipe.source)
    return [Row("source-ft", "", (Candidate(0.0, "T", adapter),))]


def target_ft(shop: Workshop, target: str) -> list[Row]:
    """The task trained on the target language's own labels, which the other methods do not have."""
    return [
        Row("target-ft", "oracle", (Candidate(0.0, "T in the target", shop.task_adapter(target)),))
    ]
