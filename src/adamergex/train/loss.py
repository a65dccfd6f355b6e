"""Losses under an output layer that is not trained: of completions, and of a teacher's lessons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["divergences", "summed_cross_entropy"]

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


def divergences(hidden: Tensor, head: Tensor, ids: Tensor, logs: Tensor) -> Tensor:
    """KL(teacher || softmax(hidden headᵀ)) of each row, with a gradient for `hidden` alone: (n,).

    All tokens that are not among a row's k count as one. So it is the divergence itself where k is
    the whole vocabulary, and never more than that elsewhere. With one token of probability 1 it is
    the cross-entropy of that token.

    Logits and their gradient are made for a few rows at a time, and never all in memory; as in
    `summed_cross_entropy`, of which this is the general case.

    Args:
        hidden: The states before each token, (n, width).
        head: The output layer, (vocabulary, width); it must not require a gradient.
        ids: The teacher's likeliest tokens, (n, k), in a row each once.
        logs: Their log-probabilities and, last, that of all others together, (n, k + 1).
    """
    assert not head.requires_grad
    with torch.autocast(hidden.device.type, enabled=False):  # distributions are in float32
        return _Divergences.apply(hidden, head, ids, logs)


class _Divergences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, ids: Tensor, logs: Tensor) -> Tensor:
        gradient = torch.empty_like(hidden)
        parts: list[Tensor] = []
        for start in range(0, len(hidden), _ROWS):
            rows = slice(start, start + _ROWS)
            logits = (hidden[rows].to(head.dtype) @ head.T).float()
            losses, slope = _of_rows(logits, ids[rows], logs[rows])
            parts.append(losses)
            if ctx.needs_input_grad[0]:
                gradient[rows] = (slope.to(head.dtype) @ head).to(gradient)
        ctx.save_for_backward(gradient)
        return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0][:, None].to(gradient), None, None, None


def _of_rows(logits: Tensor, ids: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """The divergences of a few rows, and their slopes by each logit, in the place of the logits."""
    ids = ids.long()
    norm = logits.logsumexp(-1, keepdim=True)
    known = logits.gather(1, ids) - norm
    # With the known ones out of the way: 1 less their sum would lose what is small.
    logits.scatter_(1, ids, -torch.inf)
    others = logits.logsumexp(-1, keepdim=True)
    ours = torch.cat([known, others - norm], dim=1)
    wanted = logs.exp()
    terms = wanted * (logs - ours)
    losses = torch.where(wanted > 0, terms, 0.0).sum(-1)
    # By the logit of a known token: q - p; of another one: q - p_rest q / q_rest.
    least = torch.finfo(others.dtype).min  # where there are no others
    share = logits.sub_(others.clamp(min=least)).exp_()  # of each other token among the others
    share.mul_(ours[:, -1:].exp() - wanted[:, -1:])
    share.scatter_(1, ids, known.exp() - wanted[:, :-1])
    return losses, share
