"""Attention of rows that are packed into one sequence, each row by itself.

transformers tells packed rows apart by a mask of all tokens by all tokens: sixteen rows of fifty
tokens cost 640,000 products a head where 40,000 are wanted. On a processor that is a fifth of a
training step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["rowwise", "window"]

_NAME = "adamergex_rowwise"


def rowwise(model: Any, positions: Tensor | None) -> dict[str, Any]:
    """What to give a decoder besides, for its layers to attend row by row where that pays.

    A GPU does better with one large kernel, and an attention other than SDPA knows packed rows in
    its own way: these are left as they are. Any other model has from now on an attention that is
    SDPA but where it is given this: threads may run the model at once, and a checkpointed layer
    again.

    Args:
        model: The base model.
        positions: (1, tokens): they start again at 0 with each row. None for rows not packed.
    """
    if positions is None or positions.device.type != "cpu":
        return {}
    config = model.config.get_text_config()
    if config._attn_implementation == "sdpa" and model._supports_attention_backend:
        config._attn_implementation = _NAME
    if config._attn_implementation != _NAME:
        return {}
    starts = (positions[0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], positions.shape[1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    return {"row_lengths": lengths, "unmasked": window(model)}


def window(model: Any) -> float:
    """How many tokens back every layer of a decoder sees: all of them, in most models."""
    config = model.config.get_text_config()
    found = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((size for size in found if size is not None), default=math.inf)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    unmasked: float = 0,
    **options: Any,
) -> tuple[Tensor, None]:
    """See transformers' AttentionInterface; query, key and value are (1, heads, tokens, width).

    Of the mask, (1, 1, tokens, tokens), rows longer than `unmasked` need their own part: a window
    may end within them.
    """
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    parts: list[Tensor] = []
    end = 0
    for length in row_lengths:
        own = slice(end, end := end + length)
        mask = None
        if attention_mask is not None and length > unmasked:
            mask = attention_mask[:, :, own, own]
        q, k, v = (x[:, :, own] for x in (query, key, value))
        parts.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(parts, dim=1), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
