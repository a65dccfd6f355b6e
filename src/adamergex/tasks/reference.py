"""Reference tasks: what Rt and Rs are trained on, from text without labels.

Each makes the rows of one adapter from lines of text; the lines of Rt and Rs are parallel and come
in the same order, so that the two differ in language and in nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from adamergex.errors import InputError
from adamergex.tasks.examples import Example

__all__ = ["REFERENCES", "causal_lm", "reference_examples", "translation"]


def causal_lm(lines: Sequence[str]) -> list[Example]:
    """The text itself, as in the paper (arXiv 2402.18913): the adapter learns to write it."""
    return [Example("", line) for line in lines]


def translation(lines: Sequence[str], source_lines: Sequence[str]) -> list[Example]:
    """Each line put into English: the adapter learns to read it.

    With `lines` in the source language itself (Rs) the task is to copy.
    """
    pairs = zip(lines, source_lines, strict=True)
    return [Example(f"{line} in English:", f" {english}") for line, english in pairs]


REFERENCES = ("translation", "causal-lm")


def reference_examples(
    reference: str, lines: Sequence[str], source_lines: Sequence[str]
) -> list[Example]:
    """The rows of a reference task. Raises InputError where there is none of that name."""
    if reference == "translation":
        return translation(lines, source_lines)
    if reference == "causal-lm":
        return causal_lm(lines)
    raise InputError("reference", found=reference, needed=" or ".join(REFERENCES))
