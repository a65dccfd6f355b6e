"""Losses under an output layer that is not trained: of completions, and of a teacher's lessons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adamergex.models import Head

__all__ = ["divergences", "summed_cross_entropy"]

_TOKENS = 2048
"""Tokens of the vocabulary at once on a processor: its cache holds what is multiplied by them."""

_LOGITS = 2**25
"""Logits at once on a GPU: 128 MiB in float32."""

_ROWS = 128
"""Rows of all logits at once in a divergence: 128 MiB for a vocabulary of 262,144."""


def summed_cross_entropy(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    """The sum of -log softmax(logits of hidden)[label], with a gradient for `hidden` alone.

    The output layer is read once, a part at a time, for the loss and for the gradient: sums of
    exponentials, and the states that these weigh, are carried on from part to part and scaled when
    a larger logit comes (online softmax, arXiv 1805.02867). There are never all logits.

    Args:
        hidden: The states before each label, (n, width).
        head: The output layer; it must not require a gradient.
        labels: Token ids, (n,).
    """
    assert not head.weight.requires_grad
    device = hidden.device.type
    enabled = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if enabled else head.weight.dtype
    with torch.autocast(device, enabled=False):
        return _Summed.apply(hidden, head, labels, dtype)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, labels: Tensor, dtype: Any) -> Tensor:
        states, answers = hidden.to(dtype), head[labels].to(dtype)
        own = answers.weight.float()
        most = hidden.new_full((len(hidden), 1), -torch.inf, dtype=torch.float32)
        total, weighed = torch.zeros_like(most), torch.zeros_like(own)
        for part in head.split(_at_once(hidden)):
            narrow = part.to(dtype)
            logits = narrow.logits(states)
            growth = narrow.growth(logits)
            largest = torch.maximum(most, logits.amax(1, keepdim=True))
            before = (most - largest).exp_()
            likely = logits.sub_(largest).exp_()
            total.mul_(before).add_(likely.sum(1, keepdim=True))
            if ctx.needs_input_grad[0]:
                weighed.mul_(before).add_(narrow.pulled(likely, growth))
            most = largest
        # Rounded as those that it is one of, or a sure answer would have a loss below 0.
        logit = answers.bent((states.float() * own).sum(1).to(dtype).float())[:, None]
        slope = own * answers.growth(logit)
        ctx.save_for_backward(weighed.div_(total).sub_(slope).to(hidden.dtype))
        return (most + total.log_() - logit).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None


def _at_once(hidden: Tensor) -> int:
    return _TOKENS if hidden.device.type == "cpu" else max(_TOKENS, _LOGITS // max(1, len(hidden)))


def divergences(hidden: Tensor, head: Head, ids: Tensor, logs: Tensor) -> Tensor:
    """KL(teacher || softmax(logits of hidden)) of each row, (n,): a gradient for `hidden` alone.

    All tokens that are not among a row's k count as one. So it is the divergence itself where k is
    the whole vocabulary, and never more than that elsewhere. With one token of probability 1 it is
    the cross-entropy of that token.

    Logits and their gradient are made for a few rows at a time, and never all in memory; as in
    `summed_cross_entropy`, of which this is the general case.

    Args:
        hidden: The states before each token, (n, width).
        head: The output layer; it must not require a gradient.
        ids: The teacher's likeliest tokens, (n, k), in a row each once.
        logs: Their log-probabilities and, last, that of all others together, (n, k + 1).
    """
    assert not head.weight.requires_grad
    with torch.autocast(hidden.device.type, enabled=False):  # distributions are in float32
        return _Divergences.apply(hidden, head, ids, logs)


class _Divergences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, ids: Tensor, logs: Tensor) -> Tensor:
        gradient = torch.empty_like(hidden)
        parts: list[Tensor] = []
        for start in range(0, len(hidden), _ROWS):
            rows = slice(start, start + _ROWS)
            logits = head.logits(hidden[rows])
            growth = head.growth(logits)
            losses, slope = _of_rows(logits, ids[rows], logs[rows])
            parts.append(losses)
            if ctx.needs_input_grad[0]:
                gradient[rows] = head.pulled(slope, growth).to(gradient)
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
