"""What a teacher has to teach: the states in which it begins its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamergex.models import Backbone, answer_states, prompt_ids

__all__ = ["states_of"]

_BATCH_TOKENS = 1024


@torch.no_grad()
def states_of(backbone: Backbone, model: Any, prompts: Sequence[str]) -> Tensor:
    """The state before the answer to each prompt: (prompts, width), float32.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        prompts: What is asked.

    Raises:
        InputError: A backbone that is no decoder.
    """
    rows = [prompt_ids(backbone, prompt) for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: dict[int, Tensor] = {}
    while order:
        batch, total = list[int](), 0
        while order and (not batch or total + len(rows[order[0]]) <= _BATCH_TOKENS):
            total += len(rows[order[0]])
            batch.append(order.pop(0))
        states = answer_states(backbone, model, [rows[i] for i in batch])
        found |= dict(zip(batch, states.float().cpu(), strict=True))
    return torch.stack([found[i] for i in range(len(rows))])
