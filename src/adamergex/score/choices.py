"""Answers by choice: how likely a model finds each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, continued, has_prefix, padded, prefilled
from adamergex.tasks import Example, Item

__all__ = ["Answer", "batches", "likelihoods", "token_likelihoods"]

_BATCH_TOKENS = 1024

_BATCH_CACHE = 8192
"""Tokens in the caches of the choices of one item that are run at once."""

_BATCH_LOGITS = 64
"""Rows of logits at once: 64 MiB in float32 for a vocabulary of 262,144."""

Answer = tuple[float, bool]
"""The log-likelihood of a choice, and whether greedy decoding would write it."""


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
    tokens = [
        [backbone.tokens(Example(item.prompt, choice), end=False) for choice in item.choices]
        for item in items
    ]
    for item, row in zip(items, tokens, strict=True):
        if any(len(t.ids) == t.prompt_length for t in row):
            raise InputError("item", item.id, found="a choice without a token", needed="text")
    if backbone.family == "encoder-decoder":
        return _paired(backbone, model, tokens)
    return token_likelihoods(backbone, model, tokens)


@torch.no_grad()
def token_likelihoods(
    backbone: Backbone, model: Any, tokens: list[list[Tokens]]
) -> list[list[Answer]]:
    """As `likelihoods`, of a decoder: for each item the tokens of its choices, prompt included.

    What the choices of an item share is run once, and each choice after it.
    """
    found: dict[tuple[int, int], list[Answer]] = {}
    head = backbone.model.get_output_embeddings().weight
    pieces = {(i, k): row for i, choices in enumerate(tokens) for k, row in _pieces(choices)}
    for each in sorted({len(row) for row in pieces.values()}):
        group = {i: row for i, row in pieces.items() if len(row) == each}
        shared = {i: _shared(row) for i, row in group.items()}
        prompts = sorted(((i, row[0].ids[: shared[i]]) for i, row in group.items()), key=_length)
        after = {
            i: each * (max(len(t.ids) for t in row) - shared[i] - 1) for i, row in group.items()
        }
        # Between a prefix and a short prompt there would be padding, which sliding windows count.
        for batch in batches(prompts, after, alike=has_prefix(model)):
            rows = [ids for _, ids in batch]
            tails = [[t.ids[shared[i] :] for t in group[i]] for i, _ in batch]
            longest = max(len(tail) for row in tails for tail in row) - 1
            if not longest:  # nothing is to follow a prompt: no cache, no padding
                ends = torch.tensor([len(row) for row in rows]).cumsum(0) - 1
                states = backbone.hidden(model, rows)[ends]
            else:
                states, cache, mask = prefilled(model, rows)
                inner = [[tail[:-1] or [0] for tail in row] for row in tails]
                rest = continued(model, cache, mask, inner)
                states = torch.cat([states, rest.flatten(0, 1)])
            answers = [t for i, _ in batch for t in group[i]]
            places = [
                # All choices of a prompt begin where it ends: at one and the same state.
                len(batch) + choice * longest + k - 1 if k else choice // each
                for choice, (tail, t) in enumerate(zip(chain(*tails), answers, strict=True))
                for k in range(len(tail) - len(t.answer), len(tail))
            ]
            flat = _answers(states, head, places, [t.answer for t in answers])
            for k, (i, _) in enumerate(batch):
                found[i] = flat[k * each : (k + 1) * each]
    whole: list[list[Answer]] = [[] for _ in tokens]
    for i, k in pieces:
        whole[i] += found[i, k]
    return whole


def _pieces(row: list[Tokens]) -> list[tuple[int, list[Tokens]]]:
    """The choices of an item in parts that are run at once, each with its place.

    Every choice has a copy of the prompt's cache. Choices whose prompts were cut at other places
    may share nothing; each is then run alone.
    """
    longest = max((len(t.ids) for t in row), default=1)
    most = max(1, _BATCH_CACHE // longest) if row and _shared(row) else 1
    return [(k, row[k : k + most]) for k in range(0, len(row), most)]


def _shared(row: list[Tokens]) -> int:
    """How many tokens all choices of an item begin with; none of them part of an answer."""
    most = min(t.prompt_length for t in row)
    differing = (k for k in range(most) if len({t.ids[k] for t in row}) > 1)
    return next(differing, most)


def _length(row: tuple[Any, list[int]]) -> int:
    return len(row[1])


def _answers(
    states: Tensor, head: Tensor, places: list[int], answers: list[list[int]]
) -> list[Answer]:
    """Each answer's, from the state before each of its tokens.

    Args:
        states: Hidden states, (n, width).
        head: The output layer, (vocabulary, width).
        places: For each token of each answer its row in `states`. The logits of a row are computed
            once: with a large vocabulary they cost more than the layers below.
        answers: Token ids.
    """
    used, row = torch.tensor(places).unique(return_inverse=True)
    ids = torch.tensor([token for answer in answers for token in answer])
    logs, greedy = torch.empty(len(ids)), torch.empty(len(ids), dtype=torch.bool)
    for start in range(0, len(used), _BATCH_LOGITS):
        logits = (states[used[start : start + _BATCH_LOGITS]] @ head.T).float()
        here = (row >= start) & (row < start + _BATCH_LOGITS)
        own, token = row[here] - start, ids[here]
        logs[here] = (logits[own, token] - logits.logsumexp(-1)[own]).cpu()
        greedy[here] = logits.argmax(-1)[own].cpu() == token
    lengths = [len(answer) for answer in answers]
    parts = zip(logs.split(lengths), greedy.split(lengths), strict=True)
    return [(float(log.sum()), bool(best.all())) for log, best in parts]


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
    for batch in batches([(k, t.ids) for k, (_, t) in enumerate(flat)]):
        chosen = [flat[k] for k, _ in batch]
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
    rows = [backbone.tokens(Example(item.prompt, ""), end=False).ids for item in items]
    for item in items:
        if len(item.choices) != classes:
            raise InputError("item", item.id, "choices", found=len(item.choices), needed=classes)
    for batch in batches(list(enumerate(rows))):
        ids, mask = _padded(backbone, [row for _, row in batch])
        logs = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        for row in logs:
            best = int(row.argmax())
            found.append([(float(log), i == best) for i, log in enumerate(row)])
    return found


def _padded(backbone: Backbone, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = padded(rows, backbone.tokenizer.pad_token_id or 0)
    return ids.to(backbone.model.device), mask.to(backbone.model.device)


def batches(
    rows: list[tuple[Any, list[int]]],
    more: Mapping[Any, int] = MappingProxyType({}),
    *,
    alike: bool = False,
) -> list[list[tuple[Any, list[int]]]]:
    """Rows in groups of about _BATCH_TOKENS tokens, in order; of one length each if `alike`.

    `more` says how many tokens are run for a row besides its own.
    """
    groups: list[list[tuple[Any, list[int]]]] = []
    size = 0
    for key, ids in rows:
        own = len(ids) + more.get(key, 0)
        other = alike and bool(groups) and len(groups[-1][0][1]) != len(ids)
        if not groups or size + own > _BATCH_TOKENS or other:
            groups.append([])
            size = 0
        groups[-1].append((key, ids))
        size += own
    return groups
