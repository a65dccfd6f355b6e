"""How likely a decoder finds answers: what they share is run once, logits only where a token is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, islice
from typing import Any

import torch
from torch import Tensor

from adamergex.models import (
    Backbone,
    Head,
    Prompts,
    Tokens,
    alike,
    answer_states,
    at_once,
    continued,
    has_prefix,
    in_threads,
    prefilled,
    window,
)
from adamergex.score.batching import BATCH_TOKENS, batches

__all__ = ["Answer", "token_likelihoods"]

Answer = tuple[float, bool]
"""The log-likelihood of a choice, and whether greedy decoding would write it."""

_CACHE_TOKENS = 8192
"""Tokens in the caches of all choices that are run at once."""

_OPENING = 16
"""From so many tokens on, that all prompts begin with, it pays to run them once."""

_HEAD_ROWS = 128
"""Fewer states than these wait for others: the output layer is read once for all of them."""

_HEAD_RUNS = 16
"""So many batches of them, at most."""

_LOGITS = 2**20
"""Logits at once: 4 MiB in float32, which stay in a processor's cache."""


@torch.no_grad()
def token_likelihoods(
    backbone: Backbone, model: Any, tokens: list[list[Tokens]]
) -> list[list[Answer]]:
    """As `likelihoods`, of a decoder: for each item the tokens of its choices, prompt included.

    What all items share is run once, then what the choices of an item share, then each choice.
    """
    scorer = _Scorer.of(backbone, model, tokens)
    head = Head.of(backbone.model)
    found: dict[tuple[int, int], list[Answer]] = {}
    waiting: list[_Run] = []

    def scored(batch: list[_Piece]) -> _Run | dict[tuple[int, int], list[Answer]]:
        run = scorer.run(batch)
        return run if len(run.states) < _HEAD_ROWS else _answered([run], head, 1)

    for made in in_threads(scored, scorer.batches, scorer.workers):
        if isinstance(made, _Run):
            waiting.append(made)
        else:
            found |= made
    for first in range(0, len(waiting), _HEAD_RUNS):
        found |= _answered(waiting[first : first + _HEAD_RUNS], head, at_once(backbone.model))
    whole: list[list[Answer]] = [[] for _ in tokens]
    for item, first in sorted(found):
        whole[item] += found[item, first]
    return whole


@dataclass(frozen=True)
class _Piece:
    """Choices of one item that are run at once.

    Attributes:
        item: Its number.
        first: The first choice's.
        choices: The tokens of each, prompt included.
    """

    item: int
    first: int
    choices: list[Tokens]

    @cached_property
    def shared(self) -> int:
        """How many tokens all choices begin with; none of them part of an answer."""
        most = min(t.prompt_length for t in self.choices)
        return alike([t.ids for t in self.choices], most)

    @cached_property
    def longest(self) -> int:
        """How many tokens are run after those, at most: the last of an answer is not."""
        return max(len(t.ids) for t in self.choices) - self.shared - 1

    @property
    def follows(self) -> bool:
        """Whether anything is run after what is shared."""
        return self.longest > 0

    @property
    def kind(self) -> tuple[int, bool]:
        """Pieces of one kind can be run together."""
        return len(self.choices), self.follows

    def order(self, filled: bool) -> tuple[object, ...]:
        """What to sort by.

        Args:
            filled: Whether shorter prompts are filled up: those of one length are best together.
                Where they are not, those that begin alike are.
        """
        prompt = self.choices[0].ids[: self.shared]
        return (*self.kind, self.shared if filled or self.follows else 0, prompt)

    @property
    def answers(self) -> list[list[int]]:
        """The tokens of each answer."""
        return [t.answer for t in self.choices]

    @property
    def tails(self) -> list[list[int]]:
        """What follows for each choice."""
        return [t.ids[self.shared :] for t in self.choices]


@dataclass(frozen=True)
class _Run:
    """Pieces of as many choices each, and the states that their answers follow from.

    Attributes:
        pieces: The pieces.
        states: Hidden states, (n, width), each that an answer asks for once: with a large
            vocabulary the output layer costs more than the layers below.
        places: For each token of each answer the row of the state before it.
    """

    pieces: list[_Piece]
    states: Tensor
    places: Tensor


@dataclass(frozen=True)
class _Scorer:
    """What is to be run, and how.

    Attributes:
        backbone: Whose model is run.
        model: It, or it with an adapter on it.
        workers: How many batches may be run at once.
        begin: How many tokens all prompts begin with, if it pays to run them once.
        opening: Those, run.
        batches: Pieces to be run together.
    """

    backbone: Backbone
    model: Any
    workers: int
    begin: int
    opening: Prompts | None
    batches: list[list[_Piece]]

    @classmethod
    def of(cls, backbone: Backbone, model: Any, tokens: list[list[Tokens]]) -> _Scorer:
        largest = max((sum(len(t.ids) for t in row) for row in tokens), default=1)
        most = _CACHE_TOKENS // largest  # each has room for the largest
        workers = max(1, min(at_once(backbone.model), most))
        room = _CACHE_TOKENS // workers
        pieces = [piece for i, row in enumerate(tokens) for piece in _pieces(i, row, room)]
        begin = _opening(pieces)
        opening = prefilled(model, [pieces[0].choices[0].ids[:begin]]) if begin else None
        # Where padding stands between a prefix and a short prompt, sliding windows count it.
        reach = max((piece.shared + piece.longest for piece in pieces), default=0)
        same = has_prefix(model) or (begin > 0 and reach > window(backbone.model))
        filled = has_prefix(model) or opening is not None
        pieces.sort(key=lambda piece: piece.order(filled))
        costs = [_cost(piece, begin, room) for piece in pieces]
        kinds = [(piece.kind, piece.shared if same else 0) for piece in pieces]
        groups = batches(pieces, costs, kinds, workers=workers)
        return cls(backbone, model, workers, begin, opening, groups)

    def run(self, batch: list[_Piece]) -> _Run:
        """The states that the answers of a batch follow from."""
        prompts = [piece.choices[0].ids[self.begin : piece.shared] for piece in batch]
        if batch[0].follows or self.opening:
            states = _cached(self.model, batch, prompts, self.opening)
        else:  # no cache, no padding
            states = answer_states(self.backbone, self.model, prompts, shared=True)
        used, places = torch.tensor(_places(batch)).unique(return_inverse=True)
        return _Run(batch, states[used.to(states.device)], places)


def _cost(piece: _Piece, begin: int, room: int) -> int:
    """How much of a batch a piece is: of the tokens to be run, or of those to be kept in caches."""
    run = piece.shared - begin + len(piece.choices) * piece.longest
    copies = len(piece.choices) if piece.follows else min(begin, 1)
    kept = copies * (piece.shared + piece.longest)
    return max(run, -(-kept * BATCH_TOKENS // room))


def _cached(
    model: Any, batch: list[_Piece], rows: list[list[int]], opening: Prompts | None
) -> Tensor:
    """The state after each prompt and, where there is any, at each token of each continuation."""
    prompts = prefilled(model, rows, opening)
    if not batch[0].follows:
        return prompts.states
    tails = [[tail[:-1] or [0] for tail in piece.tails] for piece in batch]
    return torch.cat([prompts.states, continued(model, prompts, tails).flatten(0, 1)])


def _places(batch: list[_Piece]) -> list[int]:
    """The row of the state before each token of each answer, in what `_cached` gives."""
    each, longest = len(batch[0].choices), max(piece.longest for piece in batch)
    tails = chain.from_iterable(piece.tails for piece in batch)
    answers = chain.from_iterable(piece.answers for piece in batch)
    return [
        # All choices of a prompt begin where it ends: at one and the same state.
        len(batch) + choice * longest + k - 1 if k else choice // each
        for choice, (tail, answer) in enumerate(zip(tails, answers, strict=True))
        for k in range(len(tail) - len(answer), len(tail))
    ]


def _pieces(item: int, row: list[Tokens], room: int) -> list[_Piece]:
    """The choices of an item in parts that are run at once.

    Every choice has a copy of the prompt's cache. Choices whose prompts were cut at other places
    may share nothing; each is then run alone.
    """
    whole = _Piece(item, 0, row)
    longest = max((len(t.ids) for t in row), default=1)
    most = max(1, room // longest) if row and whole.shared else 1
    return [_Piece(item, k, row[k : k + most]) for k in range(0, len(row), most)]


def _opening(pieces: list[_Piece]) -> int:
    """How many tokens all prompts begin with, and are more than those; 0 where it does not pay."""
    if len(pieces) < 2:
        return 0
    most = min(piece.shared for piece in pieces) - 1
    found = alike([piece.choices[0].ids for piece in pieces], most)
    return found if found >= _OPENING else 0


def _answered(runs: list[_Run], head: Head, workers: int) -> dict[tuple[int, int], list[Answer]]:
    """What the output layer says of the answers of each piece.

    Up to `workers` threads share it out.
    """
    if not runs:
        return {}
    starts = accumulate((len(run.states) for run in runs), initial=0)
    rows = torch.cat([run.places + start for run, start in zip(runs, starts, strict=False)])
    pieces = [piece for run in runs for piece in run.pieces]
    answers = [answer for piece in pieces for answer in piece.answers]
    ids = torch.tensor(list(chain.from_iterable(answers)))
    logs, greedy = _logs(torch.cat([run.states for run in runs]), head, rows, ids, workers)
    lengths = [len(answer) for answer in answers]
    parts = zip(logs.split(lengths), greedy.split(lengths), strict=True)
    found = iter([(float(log.sum()), bool(best.all())) for log, best in parts])
    return {(p.item, p.first): list(islice(found, len(p.choices))) for p in pieces}


def _logs(
    states: Tensor, head: Head, rows: Tensor, ids: Tensor, workers: int
) -> tuple[Tensor, Tensor]:
    """The log-probability of each token after the state in its row, and whether it is the best.

    The vocabulary is gone through in parts: all logits at once would fill the memory, and a part of
    them stays in a processor's cache until its exponentials are summed.
    """
    rows, ids = rows.to(states.device), ids.to(states.device)
    own = torch.zeros(len(ids), device=states.device)
    size = max(1, _LOGITS // len(states))

    def part(start: int) -> tuple[Tensor, Tensor, Tensor]:
        logits = head[start : start + size].logits(states)
        here = (ids >= start) & (ids < start + size)
        own[here] = logits[rows[here], ids[here] - start]
        highest, place = logits.max(-1)
        return logits.logsumexp(-1), highest, start + place

    parts = in_threads(part, range(0, len(head), size), workers)
    total, highest, place = (torch.stack(found) for found in zip(*parts, strict=True))
    best = place.gather(0, highest.argmax(0, keepdim=True))[0]
    return (own - total.logsumexp(0)[rows]).cpu(), (best[rows] == ids).cpu()
