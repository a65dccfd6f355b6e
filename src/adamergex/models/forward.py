"""Forward passes below the output layer, of rows packed into one sequence or padded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from adamergex.models.asked import asking
from adamergex.models.attention import rowwise

__all__ = [
    "Prompts",
    "alike",
    "bfloat16_products",
    "continued",
    "has_prefix",
    "last_hidden",
    "packed",
    "padded",
    "prefilled",
]


def bfloat16_products() -> bool:
    """Whether the device of backbones multiplies bfloat16 by instructions of its own."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in found)


def has_prefix(model: Any) -> bool:
    """Whether the adapter on `model` is a prefix: a cache before each row, outside the layers."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def last_hidden(
    model: Any,
    ids: Tensor,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    asked: Tensor | None = None,
) -> Tensor:
    """The hidden states below the output layer: (rows, length, width).

    Args:
        model: The base, or the base with an adapter on it.
        ids: Token ids, (rows, length).
        positions: For rows packed into one, see `packed`.
        mask: For rows that are padded, as they must be with a prefix: each has a cache of its own.
        asked: Of rows packed into one, the places whose states are wanted; the others' are not
            what they should be. None for all.
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
    inputs |= rowwise(base, inputs.get("position_ids"))
    # A layer that is run again on the way back is run as a whole.
    if getattr(base, "is_gradient_checkpointing", False):
        asked = None
    with asking(ids, None if asked is None else (0, asked)):
        return base.get_decoder()(input_ids=ids, use_cache=False, **inputs).last_hidden_state


@dataclass(frozen=True)
class Prompts:
    """Prompts that a decoder has run, to be continued.

    Attributes:
        states: The hidden state after each, (rows, width).
        cache: Their keys and values.
        mask: The attention mask of what is in the cache, (rows, longest).
    """

    states: Tensor
    cache: Any
    mask: Tensor


def prefilled(model: Any, rows: list[list[int]], opening: Prompts | None = None) -> Prompts:
    """Prompts run through a decoder. Shorter ones are filled up on the left: all end together.

    Args:
        model: The base, or the base with an adapter on it.
        rows: Token ids of each prompt.
        opening: One prompt, run before, that all of these begin with: `rows` is what follows it.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    ids, mask = (x.flip(1).to(base.device) for x in padded([row[::-1] for row in rows]))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    before, cache = mask[:, :0], None
    if opening is not None:
        before, cache = opening.mask.expand(len(rows), -1), copy.deepcopy(opening.cache)
        cache.batch_repeat_interleave(len(rows))
    elif has_prefix(model):
        prefix: Any = model.active_peft_config
        tokens = prefix.num_virtual_tokens
        before, cache = mask.new_ones(len(rows), tokens), model.get_prompt(len(rows))
    mask = torch.cat([before, mask], dim=1)
    with asking(ids, (slice(None), -1)):
        output = base.get_decoder()(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions + before.sum(1, keepdim=True),
            past_key_values=cache,
            use_cache=True,
        )
    return Prompts(output.last_hidden_state[:, -1], output.past_key_values, mask)


def continued(model: Any, prompts: Prompts, tails: list[list[list[int]]]) -> Tensor:
    """Every continuation of every prompt, by the prompt's cache.

    Args:
        model: As it was for the prompts.
        prompts: Their cache is used up.
        tails: For each prompt as many continuations as for every other, token ids each.

    Returns:
        The hidden states of the continuations, (prompts x continuations, longest, width).
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    each = len(tails[0])
    prompts.cache.batch_repeat_interleave(each)
    mask = prompts.mask.repeat_interleave(each, dim=0)
    ids, own = (x.to(mask.device) for x in padded([tail for row in tails for tail in row]))
    positions = mask.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=ids.device)
    return base.get_decoder()(
        input_ids=ids,
        attention_mask=torch.cat([mask, own], dim=1),
        position_ids=positions,
        past_key_values=prompts.cache,
        use_cache=True,
    ).last_hidden_state


def packed(rows: Sequence[list[int]], begins: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and positions of rows in one sequence, each (1, tokens in all).

    Positions that start again tell transformers where one row ends and the next begins.

    Args:
        rows: Token ids of each.
        begins: How many tokens to leave out of each, which the row before begins with too. Where
            positions start again at 3, a `rowwise` attention sees the first three of that row.
    """
    parts = list(zip(rows, begins or [0] * len(rows), strict=True))
    ids = torch.tensor([[token for row, begin in parts for token in row[begin:]]])
    positions = torch.cat([torch.arange(begin, len(row)) for row, begin in parts])[None]
    return ids, positions


def alike(rows: Sequence[list[int]], most: int) -> int:
    """How many of the first `most` tokens are the same in all rows."""
    first, last = min(rows), max(rows)  # what these two begin with, all between them do
    most = max(0, min(most, len(first), len(last)))
    return next((k for k in range(most) if first[k] != last[k]), most)


def padded(rows: list[list[int]], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of rows filled up on the right, each (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask
