"""What a student learns of a teacher: its own distributions, and how far they are from those."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from adamergex.errors import InputError
from adamergex.models import Backbone, Head, forced_states, padded, prompt_ids
from adamergex.score import Taught, TaughtTokens
from adamergex.tasks import Example, Item
from adamergex.train.loss import divergences

__all__ = ["Lesson", "divergence", "lesson"]


class Lesson(Protocol):
    """Rows to learn from.

    Attributes:
        rows: The tokens that the model reads for each.
        counts: How many distributions each has.
    """

    rows: list[list[int]]
    counts: list[int]

    def divergence(self, model: Any, chosen: Sequence[int]) -> Tensor:
        """The Kullback-Leibler divergences of the chosen rows, summed over their distributions."""
        ...


def lesson(backbone: Backbone, items: Sequence[Item], learnt: Taught, most: int) -> Lesson:
    """What there is to learn from a teacher about `items`, which it read in another language.

    Args:
        backbone: Tokenizer and base.
        items: What the student is asked, each in the place of what the teacher was.
        learnt: What the teacher teaches.
        most: The most tokens of a row.

    Raises:
        InputError: No rows, or another number than is taught; an item whose choices are of another
            number than the teacher's; distributions over other tokens than the model has.
    """
    if not items:
        raise InputError("training", "rows", found=0, needed="at least one")
    if len(learnt) != len(items):
        needed = f"{len(learnt)}, as are taught"
        raise InputError("distillation", "rows", found=len(items), needed=needed)
    if isinstance(learnt, TaughtTokens):
        return _Tokens(backbone, items, learnt, most)
    for item, row in zip(items, learnt.logs, strict=True):
        found, needed = len(item.choices), int((row > -torch.inf).sum())
        if found != needed:
            needed = f"{needed}, as the teacher has"
            raise InputError("item", item.id, "choices", found=found, needed=needed)
    if backbone.family == "encoder":
        return _Classes(backbone, items, learnt.logs, most)
    return _Choices(backbone, items, learnt.logs, most)


@torch.no_grad()
def divergence(backbone: Backbone, model: Any, items: Sequence[Item], learnt: Taught) -> float:
    """How far a model's distributions are from a teacher's, on average over the latter.

    Args:
        backbone: Tokenizer and base.
        model: The base with an adapter on it.
        items: What it is asked, each in the place of what the teacher was.
        learnt: What the teacher teaches.

    Raises:
        InputError: As `lesson`.
    """
    rows = lesson(backbone, items, learnt, backbone.positions)
    total = sum(float(rows.divergence(model, [i])) for i in range(len(items)))
    return total / sum(rows.counts)


class _Tokens:
    """Each token's distribution in the teacher's answers, put behind the student's prompts."""

    def __init__(
        self, backbone: Backbone, items: Sequence[Item], learnt: TaughtTokens, most: int
    ) -> None:
        self._backbone = backbone
        self._head, ids = _head(backbone, learnt)
        lengths = learnt.lengths.tolist()
        answers = [a.tolist() for a in learnt.answers.split([n - 1 for n in lengths])]
        # The prompt is cut before the answer is, as in other trainings.
        kept = [answer[: max(0, most - 2)] for answer in answers]
        apart = backbone.family == "encoder-decoder"
        self._prompts = [
            prompt_ids(backbone, item.prompt, most if apart else most - len(answer), tail=item.tail)
            for item, answer in zip(items, kept, strict=True)
        ]
        self._answers = kept
        self.counts = [len(answer) + 1 for answer in kept]
        self.rows = [[*p, *a] for p, a in zip(self._prompts, kept, strict=True)]
        starts = accumulate(lengths[:-1], initial=0)
        spans = [slice(s, s + n) for s, n in zip(starts, self.counts, strict=True)]
        self._ids, self._logs = (
            [x[s].to(backbone.model.device) for s in spans] for x in (ids, learnt.logs)
        )

    def divergence(self, model: Any, chosen: Sequence[int]) -> Tensor:
        prompts, answers = ([x[i] for i in chosen] for x in (self._prompts, self._answers))
        states = forced_states(self._backbone, model, prompts, answers)
        ids, logs = (torch.cat([x[i] for i in chosen]) for x in (self._ids, self._logs))
        return divergences(states, self._head, ids, logs).sum()


class _Choices:
    """The distribution over an item's choices, by the scores that the task's metric compares."""

    def __init__(
        self, backbone: Backbone, items: Sequence[Item], wanted: Tensor, most: int
    ) -> None:
        self._backbone = backbone
        self._head = Head.of(backbone.model)
        rows = [
            [Example(item.prompt, choice, tail=item.tail) for choice in item.choices]
            for item in items
        ]
        self._tokens = [backbone.all_tokens(row, end=False, max_length=most) for row in rows]
        self._weights = [torch.tensor(item.counted) for item in items]
        self._wanted = wanted
        self.counts = [1] * len(items)
        self.rows = [[token for t in row for token in t.ids] for row in self._tokens]

    def divergence(self, model: Any, chosen: Sequence[int]) -> Tensor:
        tokens = [t for i in chosen for t in self._tokens[i]]
        prompts = [t.ids[: t.prompt_length] for t in tokens]
        # What follows an answer is no part of its likelihood.
        states = forced_states(
            self._backbone, model, prompts, [t.answer[:-1] for t in tokens], shared=True
        )
        ids = torch.tensor([token for t in tokens for token in t.answer], device=states.device)
        certain = torch.tensor([[0.0, -torch.inf]], device=states.device).expand(len(ids), -1)
        logs = -divergences(states, self._head, ids[:, None], certain)
        whole = torch.stack([part.sum() for part in logs.split([len(t.answer) for t in tokens])])
        scores = whole.split([len(self._tokens[i]) for i in chosen])
        return _of_choices(
            [row * self._weights[i].to(row) for row, i in zip(scores, chosen, strict=True)],
            [self._wanted[i] for i in chosen],
        )


class _Classes:
    """The distribution over an encoder's classes."""

    def __init__(
        self, backbone: Backbone, items: Sequence[Item], wanted: Tensor, most: int
    ) -> None:
        rows = [Example(item.prompt, "", tail=item.tail) for item in items]
        self._backbone, self._wanted = backbone, wanted
        self.rows = [t.ids for t in backbone.all_tokens(rows, end=False, max_length=most)]
        self.counts = [1] * len(items)

    def divergence(self, model: Any, chosen: Sequence[int]) -> Tensor:
        filler = self._backbone.tokenizer.pad_token_id or 0
        ids, mask = padded([self.rows[i] for i in chosen], filler)
        device = self._backbone.model.device
        logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return _of_choices(list(logits.float()), [self._wanted[i] for i in chosen])


def _of_choices(scores: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """How far the softmax of each item's scores is from its wanted log-probabilities, summed."""
    found = [
        kl_div(own.log_softmax(-1), logs[: len(own)].to(own), log_target=True, reduction="sum")
        for own, logs in zip(scores, wanted, strict=True)
    ]
    return torch.stack(found).sum()


def _head(backbone: Backbone, learnt: TaughtTokens) -> tuple[Head, Tensor]:
    """The output layer of the tokens that are taught, and the places in it of the likeliest."""
    head, over = Head.of(backbone.model), learnt.vocabulary
    highest = int((learnt.ids if over is None else over).max())
    if highest >= len(head):
        needed = f"at most {len(head) - 1}, as the model has: T's own"
        raise InputError("distillation", "token", found=highest, needed=needed)
    if over is None:
        return head, learnt.ids
    return head[over.to(head.weight.device)], torch.searchsorted(over, learnt.ids.long())
