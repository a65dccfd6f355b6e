"""What a teacher has to teach: how it would answer, as distributions and not as one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import (
    Backbone,
    Head,
    at_once,
    forced_states,
    in_threads,
    prompt_ids,
)
from adamergex.score.batching import batches
from adamergex.score.choices import likelihoods
from adamergex.tasks import Example, Item

__all__ = [
    "LIKELIEST",
    "Taught",
    "TaughtChoices",
    "TaughtTokens",
    "read_taught",
    "taught",
    "write_taught",
]

LIKELIEST = 120
"""Tokens of a distribution that are kept, and all others as one: under a kilobyte, where the state
that it follows from has 2 to 20. What that leaves out of a divergence is in docs/method.md."""

_ROWS = 128
"""Rows of logits at once."""


@dataclass(frozen=True)
class TaughtTokens:
    """How a teacher goes on after each prompt, and after each token of its own answer to it.

    Attributes:
        lengths: How many distributions there are for each prompt, one more than its answer has
            tokens, (prompts,).
        answers: The tokens of all answers, one after another.
        ids: The likeliest tokens in each place, (places, k).
        logs: Their log-probabilities and, last, that of all others together, (places, k + 1).
        vocabulary: The tokens that the distributions are over, sorted; None for all.
    """

    lengths: Tensor
    answers: Tensor
    ids: Tensor
    logs: Tensor
    vocabulary: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, rows: Sequence[int]) -> TaughtTokens:
        """What is taught of some of the prompts."""
        places = self.lengths.tolist()
        tokens = [n - 1 for n in places]
        return TaughtTokens(
            self.lengths[list(rows)],
            _picked(self.answers, tokens, rows),
            _picked(self.ids, places, rows),
            _picked(self.logs, places, rows),
            self.vocabulary,
        )


def _picked(flat: Tensor, lengths: list[int], rows: Sequence[int]) -> Tensor:
    """Some of the parts that are one after another in `flat`."""
    parts = flat.split(lengths)
    return torch.cat([flat[:0], *(parts[i] for i in rows)])


@dataclass(frozen=True)
class TaughtChoices:
    """A teacher's distribution over the choices of each item.

    Attributes:
        logs: Log-probabilities, (items, most choices); -inf behind an item's last.
    """

    logs: Tensor

    def __len__(self) -> int:
        return len(self.logs)

    def of(self, rows: Sequence[int]) -> TaughtChoices:
        """What is taught of some of the items."""
        return TaughtChoices(self.logs[list(rows)])


Taught = TaughtTokens | TaughtChoices


@torch.no_grad()
def taught(
    backbone: Backbone,
    model: Any,
    items: Sequence[Item],
    *,
    answers: Sequence[str] | None = None,
    vocabulary: list[int] | None = None,
    by_choice: bool = False,
) -> Taught:
    """What a model has to teach of the answers to some items.

    Of free text, how it goes on after each token of its own answer. Of choices that are one token
    each, the distribution of that token. Of any others, and of an encoder's classes, the
    distribution over an item's choices that their scores come to: the softmax of what the task's
    metric compares.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        items: What is asked.
        answers: For items with free answers the model's own, as they would continue the prompts.
        vocabulary: Of the distribution of one token; None for all tokens.
        by_choice: Whether choices are taught as such even if they are one token each: where the
            student's are others.
    """
    if not items:
        raise InputError("distillation", "rows", found=0, needed="at least one")
    if answers is not None:
        pairs = zip(items, answers, strict=True)
        rows = [Example(item.prompt, text, tail=item.tail) for item, text in pairs]
        tokens = backbone.all_tokens(rows, end=False)
        prompts, forced = [t.ids[: t.prompt_length] for t in tokens], [t.answer for t in tokens]
    elif by_choice or not _of_one_token(backbone, items):
        return _choices(backbone, model, items)
    else:
        prompts = [prompt_ids(backbone, item.prompt, tail=item.tail) for item in items]
        forced = [list[int]() for _ in items]
    return _tokens(backbone, model, prompts, forced, vocabulary)


def _of_one_token(backbone: Backbone, items: Sequence[Item]) -> bool:
    """Whether every choice is one token; an encoder's are none."""
    if backbone.family == "encoder":
        return False
    rows = [Example(item.prompt, choice) for item in items for choice in item.choices]
    return all(len(t.answer) == 1 for t in backbone.all_tokens(rows, end=False))


def _choices(backbone: Backbone, model: Any, items: Sequence[Item]) -> TaughtChoices:
    found = likelihoods(backbone, model, items)
    logs = torch.full((len(items), max(map(len, found))), -torch.inf)
    for row, item, answers in zip(logs, items, found, strict=True):
        scores = torch.tensor([log for log, _ in answers]) * torch.tensor(item.counted)
        row[: len(answers)] = scores.log_softmax(-1)
    return TaughtChoices(logs)


def _tokens(
    backbone: Backbone,
    model: Any,
    prompts: list[list[int]],
    answers: list[list[int]],
    vocabulary: list[int] | None,
) -> TaughtTokens:
    sizes = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    head = Head.of(backbone.model)
    allowed = None if vocabulary is None else torch.tensor(vocabulary, device=head.weight.device)
    kept = head if allowed is None else head[allowed]

    def learnt(batch: list[int]) -> tuple[Tensor, Tensor]:
        asked, forced = [prompts[i] for i in batch], [answers[i] for i in batch]
        return _likeliest(forced_states(backbone, model, asked, forced), kept)

    parts = batches(order, [sizes[i] for i in order])
    # An encoder-decoder's states are caught on their way: no two batches at once.
    workers = at_once(backbone.model) if backbone.family == "decoder" else 1
    lengths = [len(answer) + 1 for answer in answers]
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for batch, (ids, logs) in zip(parts, in_threads(learnt, parts, workers), strict=True):
        own = [lengths[i] for i in batch]
        found |= dict(zip(batch, zip(ids.split(own), logs.split(own), strict=True), strict=True))
    ids, logs = (torch.cat([found[i][k] for i in range(len(prompts))]) for k in range(2))
    if allowed is not None:
        ids = allowed.cpu()[ids.long()].int()
    flat = torch.tensor([token for answer in answers for token in answer], dtype=torch.int32)
    over = None if vocabulary is None else torch.tensor(vocabulary)
    return TaughtTokens(torch.tensor(lengths), flat, ids, logs, over)


def _likeliest(states: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """The likeliest tokens after each state, and log-probabilities: theirs, and of all others."""
    found: list[tuple[Tensor, Tensor]] = []
    for rows in states.split(_ROWS):
        logs = head.logits(rows).log_softmax(-1)
        best, ids = logs.topk(min(LIKELIEST, logs.shape[1]))
        others = logs.scatter_(1, ids, -torch.inf).logsumexp(-1, keepdim=True)
        found.append((ids.int().cpu(), torch.cat([best, others], dim=1).cpu()))
    ids, logs = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ids, logs


def write_taught(found: Taught, lines: Sequence[int], path: Path) -> int:
    """Writes what is taught of each of `lines`; returns how many bytes."""
    tensors = {name: x for name, x in vars(found).items() if x is not None}
    save_file({**tensors, "lines": torch.tensor(lines)}, path)
    return path.stat().st_size


def read_taught(path: Path) -> tuple[Taught, list[int]]:
    """What is taught, and of which lines."""
    tensors = load_file(path)
    lines = tensors.pop("lines").tolist()
    return (TaughtTokens if "lengths" in tensors else TaughtChoices)(**tensors), lines
