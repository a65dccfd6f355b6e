"""Forward passes below the output layer, of rows packed into one sequence or padded."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

__all__ = ["has_prefix", "last_hidden", "packed", "padded"]


def has_prefix(model: Any) -> bool:
    """Whether the adapter on `model` is a prefix: a cache before each row, outside the layers."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def last_hidden(
    model: Any, ids: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """The hidden states below the output layer: (rows, length, width).

    Args:
        model: The base, or the base with an adapter on it.
        ids: Token ids, (rows, length).
        positions: For rows packed into one: positions that start again at 0 with each of them.
        mask: For rows that are padded, as they must be with a prefix: each has a cache of its own.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    inputs: dict[str, Any] = {"position_ids": positions}
    if has_prefix(model):
        assert mask is not None
        prefix: Any = model.active_peft_config
        before = torch.ones(
            len(ids), prefix.num_virtual_tokens, dtype=mask.dtype, device=mask.device
        )
        # PEFT adds a prefix in its wrapper, which is left out here with the output layer.
        inputs = {
            "attention_mask": torch.cat([before, mask], dim=1),
            "past_key_values": model.get_prompt(len(ids)),
        }
    return base.get_decoder()(input_ids=ids, use_cache=False, **inputs).last_hidden_state


def packed(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and positions of rows in one sequence, each (1, tokens in all).

    Positions that start again at 0 tell transformers where one row ends and the next begins.
    """
    ids = torch.tensor([[token for row in rows for token in row]])
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    return ids, positions


def padded(rows: list[list[int]], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of rows filled up on the right, each (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask
