"""The loss of completions under an output layer that is not trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["summed_cross_entropy"]

_ROWS = 128
"""Rows of logits at once: 128 MiB in float32 for a vocabulary of 262,144."""


def summed_cross_entropy(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """The sum of -log softmax(hidden headᵀ)[label], with a gradient for `hidden` alone.

    Logits and their gradient are made for a few rows at a time, while the former are at hand: one
    product fewer than to make the logits again on the way back, and never all in memory.

    Args:
        hidden: The states before each label, (n, width).
        head: The output layer, (vocabulary, width); it must not require a gradient.
        labels: Token ids, (n,).
    """
    assert not head.requires_grad
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        head = head.to(torch.get_autocast_dtype(device))  # once, not for each product
    return _Summed.apply(hidden, head, labels)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
        gradient = torch.empty_like(hidden)
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), _ROWS):
            rows = slice(start, start + _ROWS)
            logits = (hidden[rows] @ head.T).float()
            own = labels[rows, None]
            norm = logits.logsumexp(-1, keepdim=True)
            total += (norm - logits.gather(1, own)).sum()
            if ctx.needs_input_grad[0]:
                probability = logits.sub_(norm).exp_()
                probability.scatter_add_(1, own, probability.new_full(own.shape, -1.0))
                gradient[rows] = probability.to(head.dtype) @ head
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None
