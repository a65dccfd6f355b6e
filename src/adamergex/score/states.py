"""What a teacher has to teach: the states in which it begins its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamergex.models import Backbone, answer_states, at_once, in_threads, prompt_ids
from adamergex.score.batching import batches

__all__ = ["states_of"]


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

    def states(batch: list[int]) -> Tensor:
        return answer_states(backbone, model, [rows[i] for i in batch]).float().cpu()

    parts = batches(order, [len(rows[i]) for i in order])
    found = torch.cat(in_threads(states, parts, at_once(backbone.model)))
    return found[torch.tensor(order).argsort()]
