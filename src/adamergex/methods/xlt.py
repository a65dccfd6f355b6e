"""XLT: cross-lingual-thought prompting of the base model (arXiv 2305.07004)."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop

__all__ = ["xlt"]


def xlt(shop: Workshop, target: str) -> list[Row]:  # noqa: ARG001 - the same base everywhere
    """The base model, asked to retell in the source language, think in steps and then answer.

    The publication reads the answer from the text that the model writes. Base models seldom keep to
    a format, so here the model writes its retelling and its steps, and is then asked for the answer
    in the task's own words, which is scored as every other method's.
    """
    return [Row("xlt", "prompting", (Setting(0.0, "base model", None),), prompting="xlt")]
