"""The state in which a decoder is when its answer begins: what the first token follows from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models.attention import attends_by_row, window
from adamergex.models.backbone import Backbone
from adamergex.models.forward import alike, has_prefix
from adamergex.tasks import Example

__all__ = ["answer_states", "prompt_ids"]


def prompt_ids(backbone: Backbone, prompt: str, max_length: int | None = None) -> list[int]:
    """The tokens of a prompt, as they are scored: its white space at the end is the answer's.

    Raises:
        InputError: A backbone that is no decoder.
    """
    if backbone.family != "decoder":
        needed = "a decoder: no other has one state before its answer"
        raise InputError("distillation", "model", found=f"an {backbone.family}", needed=needed)
    tokens = backbone.tokens(Example(prompt, ""), end=False, max_length=max_length)
    return tokens.ids[: tokens.prompt_length]


def answer_states(
    backbone: Backbone, model: Any, rows: list[list[int]], *, shared: bool = False
) -> Tensor:
    """The hidden state at the last token of each row, below the output layer: (rows, width).

    Args:
        backbone: Whose device the rows go to.
        model: The base, or the base with an adapter on it.
        rows: Token ids of prompts.
        shared: Whether what a row begins with as the row before it does is run once, where the
            model can. That rounds otherwise, in the last digits.
    """
    begins = _begins(backbone, model, rows) if shared else [0] * len(rows)
    own = [len(row) - begin for row, begin in zip(rows, begins, strict=True)]
    ends = (torch.tensor(own).cumsum(0) - 1).to(backbone.model.device)
    return backbone.hidden(model, rows, begins, ends if shared else None)[ends]


def _begins(backbone: Backbone, model: Any, rows: list[list[int]]) -> list[int]:
    """How many tokens of each row need not be run again; its last always is."""
    base, longest = backbone.model, max(map(len, rows))
    if has_prefix(model) or longest > window(base) or not attends_by_row(base):
        return [0] * len(rows)
    return [0, *(alike(pair, len(pair[1]) - 1) for pair in pairwise(rows))]
