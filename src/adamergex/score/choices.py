"""Multiple choice by likelihood: the answer is the choice that the model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens
from adamergex.tasks import Example, Item

__all__ = ["predictions", "scores"]

_BATCH_TOKENS = 1024

Rows = dict[int, list[Tokens]]
Scores = dict[int, list[float]]


def predictions(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[int]:
    """The index of the likeliest choice of each item; the first where two are equal."""
    return [max(range(len(row)), key=row.__getitem__) for row in scores(backbone, model, items)]


@torch.no_grad()
def scores(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[list[float]]:
    """The log-likelihood of each choice of each item, summed over its tokens.

    Where all choices of an item are one token long, the prompt is run once, and the logits stand
    for the log-likelihoods: they differ by a constant that all choices of the item share.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        items: What to score.

    Raises:
        InputError: An empty choice, which would be as likely as anything can be.
    """
    tokens = [
        [backbone.tokens(Example(item.prompt, choice), end=False) for choice in item.choices]
        for item in items
    ]
    for item, row in zip(items, tokens, strict=True):
        if any(len(t.ids) == t.prompt_length for t in row):
            raise InputError("item", item.id, found="a choice without a token", needed="text")
    by_length: tuple[Rows, Rows] = ({}, {})
    for i, row in enumerate(tokens):
        by_length[any(len(t.ids) > t.prompt_length + 1 for t in row)][i] = row
    short, long = by_length
    found = _score_short(backbone, model, short) | _score_long(backbone, model, long)
    return [found[i] for i in range(len(items))]


def _score_short(backbone: Backbone, model: Any, rows: Rows) -> Scores:
    """Items whose choices are one token each: the logits after the prompt."""
    found: Scores = {}
    head = backbone.model.get_output_embeddings().weight
    for batch in _batches([(i, row[0].ids[:-1]) for i, row in rows.items()]):
        hidden = backbone.hidden(model, [ids for _, ids in batch])
        last = torch.tensor([len(ids) for _, ids in batch]).cumsum(0) - 1
        for (i, _), state in zip(batch, hidden[last], strict=True):
            found[i] = (head[[t.ids[-1] for t in rows[i]]] @ state).tolist()
    return found


def _score_long(backbone: Backbone, model: Any, rows: Rows) -> Scores:
    """All other items: every choice with its prompt, choice after choice."""
    found: Scores = {i: [] for i in rows}
    head = backbone.model.get_output_embeddings().weight
    for batch in _batches([((i, t), t.ids) for i, row in rows.items() for t in row]):
        lengths = [len(ids) for _, ids in batch]
        states = backbone.hidden(model, [ids for _, ids in batch]).split(lengths)
        for ((i, t), ids), state in zip(batch, states, strict=True):
            found[i].append(_log_likelihood(state, ids, t.prompt_length, head))
    return found


def _log_likelihood(states: Tensor, ids: list[int], prompt: int, head: Tensor) -> float:
    logs = (states[prompt - 1 : -1] @ head.T).float().log_softmax(-1)
    answer = torch.tensor(ids[prompt:], device=logs.device)
    return float(logs.gather(1, answer[:, None]).sum())


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
