"""Zero-shot: the base model, asked in the target language."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop

__all__ = ["zero_shot"]


def zero_shot(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - the same base everywhere
    """The base model alone."""
    return [Row("zero-shot", "", (Setting(0.0, "base model", None),))]
