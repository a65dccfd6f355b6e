"""The state in which a decoder is when its answer begins: what the first token follows from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models.backbone import Backbone
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


def answer_states(backbone: Backbone, model: Any, rows: list[list[int]]) -> Tensor:
    """The hidden state at the last token of each row, below the output layer: (rows, width).

    Args:
        backbone: Whose device the rows go to.
        model: The base, or the base with an adapter on it.
        rows: Token ids of prompts.
    """
    ends = torch.tensor([len(row) for row in rows]).cumsum(0) - 1
    hidden = backbone.hidden(model, rows)
    return hidden[ends.to(hidden.device)]
