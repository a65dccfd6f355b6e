"""Answers by choice: how likely a model finds each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, padded
from adamergex.score.batching import batches
from adamergex.score.decoders import Answer, token_likelihoods
from adamergex.tasks import Example, Item

__all__ = ["likelihoods"]


@torch.no_grad()
def likelihoods(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[list[Answer]]:
    """For each choice of each item its log-likelihood, summed over tokens, and if it is greedy.

    An encoder's choices are the classes of its head. A decoder runs each prompt once.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        items: What to score.

    Raises:
        InputError: An empty choice, which would be as likely as anything can be; for an encoder,
            another number of choices than its head has classes.
    """
    if backbone.family == "encoder":
        return _classified(backbone, model, items)
    rows = [Example(i.prompt, choice, tail=i.tail) for i in items for choice in i.choices]
    each = iter(backbone.all_tokens(rows, end=False))
    tokens = [list(islice(each, len(item.choices))) for item in items]
    for item, row in zip(items, tokens, strict=True):
        if any(len(t.ids) == t.prompt_length for t in row):
            raise InputError("item", item.id, found="a choice without a token", needed="text")
    if backbone.family == "encoder-decoder":
        return _paired(backbone, model, tokens)
    return token_likelihoods(backbone, model, tokens)


def _answer(logits: Tensor, ids: list[int]) -> Answer:
    """From the logits before each token of an answer: (tokens, vocabulary)."""
    logs = logits.float().log_softmax(-1)
    answer = torch.tensor(ids, device=logs.device)
    total = logs.gather(1, answer[:, None]).sum()
    return float(total), bool((logs.argmax(-1) == answer).all())


def _paired(backbone: Backbone, model: Any, tokens: list[list[Tokens]]) -> list[list[Answer]]:
    """An encoder-decoder's: the prompt goes into the encoder, the choice into the decoder."""
    found: list[list[Answer]] = [[] for _ in tokens]
    flat = [(i, t) for i, row in enumerate(tokens) for t in row]
    for chosen in batches(flat, [len(t.ids) for _, t in flat]):
        rows = [t for _, t in chosen]
        prompts, mask = _padded(backbone, [t.ids[: t.prompt_length] for t in rows])
        labels, _ = _padded(backbone, [t.answer for t in rows])
        logits = model(input_ids=prompts, attention_mask=mask, labels=labels).logits
        for (i, t), row in zip(chosen, logits, strict=True):
            found[i].append(_answer(row[: len(t.answer)], t.answer))
    return found


def _classified(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[list[Answer]]:
    """An encoder's: the classes of its head."""
    classes = getattr(backbone.model.config, "num_labels", 0)
    found: list[list[Answer]] = []
    prompts = [Example(item.prompt, "") for item in items]
    rows = [t.ids for t in backbone.all_tokens(prompts, end=False)]
    for item in items:
        if len(item.choices) != classes:
            raise InputError("item", item.id, "choices", found=len(item.choices), needed=classes)
    for batch in batches(rows, [len(row) for row in rows]):
        ids, mask = _padded(backbone, batch)
        logs = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        for row in logs:
            best = int(row.argmax())
            found.append([(float(log), i == best) for i, log in enumerate(row)])
    return found


def _padded(backbone: Backbone, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = padded(rows, backbone.tokenizer.pad_token_id or 0)
    return ids.to(backbone.model.device), mask.to(backbone.model.device)
