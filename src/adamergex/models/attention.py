"""Attention of rows that are packed into one sequence, each row by itself.

transformers tells packed rows apart by a mask of all tokens by all tokens: sixteen rows of fifty
tokens cost 640,000 products a head where 40,000 are wanted. On a processor that is a fifth of a
training step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["attends_by_row", "rowwise", "window"]

_NAME = "adamergex_rowwise"


@dataclass(frozen=True)
class _Row:
    """Tokens of a packed sequence that follow each other in one row.

    Attributes:
        own: Where they are.
        seen: Where all tokens of the row are, up to the last of these, if the row begins with
            tokens of the rows before it: (length,).
        mask: Which of those each of these sees, (1, 1, own tokens, length).
    """

    own: slice
    seen: Tensor | None = None
    mask: Tensor | None = None


def attends_by_row(model: Any) -> bool:
    """Whether a decoder attends row by row from now on. That pays on a processor.

    A GPU does better with one large kernel, and an attention other than SDPA knows packed rows in
    its own way: these are left as they are. Any other model has from now on an attention that is
    SDPA but where it is given `rowwise`: threads may run the model at once, and a checkpointed
    layer again.
    """
    if model.device.type != "cpu":
        return False
    config = model.config.get_text_config()
    if config._attn_implementation == "sdpa" and model._supports_attention_backend:
        config._attn_implementation = _NAME
    return config._attn_implementation == _NAME


def rowwise(model: Any, positions: Tensor | None) -> dict[str, Any]:
    """What to give a decoder besides, for its layers to attend row by row where that pays.

    Args:
        model: The base model.
        positions: (1, tokens): they start again with each row, at 0 or where the row goes on
            otherwise than the row before it. None for rows not packed.
    """
    if positions is None or not attends_by_row(model):
        return {}
    return {"packed_rows": _rows(positions[0]), "unmasked": window(model)}


def _rows(positions: Tensor) -> list[_Row]:
    starts = [0, *((positions.diff() != 1).nonzero().flatten() + 1).tolist(), len(positions)]
    rows: list[_Row] = []
    seen: list[int] = []
    for start, end in pairwise(starts):
        shared = seen[: int(positions[start])]
        seen = [*shared, *range(start, end)]
        if shared:
            mask = torch.ones(1, 1, end - start, len(seen), dtype=torch.bool).tril(len(shared))
            rows.append(_Row(slice(start, end), torch.tensor(seen), mask))
        else:
            rows.append(_Row(slice(start, end)))
    return rows


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
    packed_rows: list[_Row] | None = None,
    unmasked: float = 0,
    **options: Any,
) -> tuple[Tensor, None]:
    """See transformers' AttentionInterface; query, key and value are (1, heads, tokens, width).

    Of the mask, (1, 1, tokens, tokens), rows longer than `unmasked` need their own part: a window
    may end within them.
    """
    if packed_rows is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    lengths = [row.own.stop - row.own.start for row in packed_rows]
    # Not slices: each would have a gradient of all tokens.
    tensors = zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    parts: list[Tensor] = []
    for row, (q, own_k, own_v) in zip(packed_rows, tensors, strict=True):
        own, mask, k, v = row.own, row.mask, own_k, own_v
        if row.seen is not None:
            k, v = (x.index_select(2, row.seen) for x in (key, value))
        elif attention_mask is not None and own.stop - own.start > unmasked:
            mask = attention_mask[:, :, own, own]
        attended, _ = sdpa_attention_forward(module, q, k, v, mask, **options)
        parts.append(attended)
    return torch.cat(parts, dim=1), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
