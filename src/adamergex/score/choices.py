"""Answers by choice: how likely a model finds each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, padded
from adamergex.tasks import Example, Item

__all__ = ["likelihoods"]

_BATCH_TOKENS = 1024

Answer = tuple[float, bool]
"""The log-likelihood of a choice, and whether greedy decoding would write it."""

Rows = dict[int, list[Tokens]]
Answers = dict[int, list[Answer]]


@torch.no_grad()
def likelihoods(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[list[Answer]]:
    """For each choice of each item its log-likelihood, summed over tokens, and if it is greedy.

    An encoder's choices are the classes of its head. Where all choices of an item are one token
    long, a decoder runs the prompt once.

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
    tokens = [
        [backbone.tokens(Example(item.prompt, choice), end=False) for choice in item.choices]
        for item in items
    ]
    for item, row in zip(items, tokens, strict=True):
        if any(len(t.ids) == t.prompt_length for t in row):
            raise InputError("item", item.id, found="a choice without a token", needed="text")
    if backbone.family == "encoder-decoder":
        return _paired(backbone, model, tokens)
    by_length: tuple[Rows, Rows] = ({}, {})
    for i, row in enumerate(tokens):
        by_length[not _one_token(row)][i] = row
    short, long = by_length
    found = _score_short(backbone, model, short) | _score_long(backbone, model, long)
    return [found[i] for i in range(len(items))]


def _one_token(row: list[Tokens]) -> bool:
    """Whether the choices of an item are one token each, after the same tokens."""
    prompts = {tuple(t.ids[:-1]) for t in row}
    return len(prompts) == 1 and all(len(t.ids) == t.prompt_length + 1 for t in row)


def _score_short(backbone: Backbone, model: Any, rows: Rows) -> Answers:
    """Items whose choices are one token each: the distribution after the prompt."""
    found: Answers = {}
    head = backbone.model.get_output_embeddings().weight
    for batch in _batches([(i, row[0].ids[:-1]) for i, row in rows.items()]):
        hidden = backbone.hidden(model, [ids for _, ids in batch])
        last = torch.tensor([len(ids) for _, ids in batch]).cumsum(0) - 1
        logs = (hidden[last] @ head.T).float().log_softmax(-1)
        for (i, _), row in zip(batch, logs, strict=True):
            best = int(row.argmax())
            answers = [t.ids[-1] for t in rows[i]]
            found[i] = [(float(row[answer]), answer == best) for answer in answers]
    return found


def _score_long(backbone: Backbone, model: Any, rows: Rows) -> Answers:
    """All other items: every choice with its prompt, choice after choice."""
    found: Answers = {i: [] for i in rows}
    head = backbone.model.get_output_embeddings().weight
    for batch in _batches([((i, t), t.ids) for i, row in rows.items() for t in row]):
        lengths = [len(ids) for _, ids in batch]
        states = backbone.hidden(model, [ids for _, ids in batch]).split(lengths)
        for ((i, t), ids), state in zip(batch, states, strict=True):
            logits = state[t.prompt_length - 1 : -1] @ head.T
            found[i].append(_answer(logits, ids[t.prompt_length :]))
    return found


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
    for batch in _batches([((i, t), t.ids) for i, t in flat]):
        rows = [t for (_, t), _ in batch]
        prompts, mask = _padded(backbone, [t.ids[: t.prompt_length] for t in rows])
        labels, _ = _padded(backbone, [t.ids[t.prompt_length :] for t in rows])
        logits = model(input_ids=prompts, attention_mask=mask, labels=labels).logits
        for ((i, t), _), row in zip(batch, logits, strict=True):
            answer = t.ids[t.prompt_length :]
            found[i].append(_answer(row[: len(answer)], answer))
    return found


def _classified(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[list[Answer]]:
    """An encoder's: the classes of its head."""
    classes = getattr(backbone.model.config, "num_labels", 0)
    found: list[list[Answer]] = []
    rows = [backbone.tokens(Example(item.prompt, ""), end=False).ids for item in items]
    for item in items:
        if len(item.choices) != classes:
            raise InputError("item", item.id, "choices", found=len(item.choices), needed=classes)
    for batch in _batches(list(enumerate(rows))):
        ids, mask = _padded(backbone, [row for _, row in batch])
        logs = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        for row in logs:
            best = int(row.argmax())
            found.append([(float(log), i == best) for i, log in enumerate(row)])
    return found


def _padded(backbone: Backbone, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = padded(rows, backbone.tokenizer.pad_token_id or 0)
    return ids.to(backbone.model.device), mask.to(backbone.model.device)


def _batches(rows: list[tuple[Any, list[int]]]) -> list[list[tuple[Any, list[int]]]]:
    """Rows in groups of about _BATCH_TOKENS tokens, in order."""
    groups: list[list[tuple[Any, list[int]]]] = []
    size = _BATCH_TOKENS
    for row in rows:
        if size + len(row[1]) > _BATCH_TOKENS:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += len(row[1])
    return groups
