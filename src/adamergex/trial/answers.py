"""What a base model, T and the merge at t say to one prompt."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from adamergex.errors import InputError
from adamergex.models import Backbone, Head, backbone, backbone_family, forced_states, prompt_ids
from adamergex.score import generations, likelihoods
from adamergex.tasks import Item
from adamergex.trial.entries import Entry

__all__ = ["Answer", "answers", "ready"]

_TOP, _WRITTEN = 8, 20
"""So many next tokens are told, and so many are written."""


class Answer(NamedTuple):
    """What one model says.

    Attributes:
        chances: Of each choice, by the likelihoods of their whole texts beside each other; without
            choices of the likeliest next tokens, among all tokens. The likeliest first.
        text: What the model writes, greedily; None where there are choices.
    """

    chances: dict[str, float]
    text: str | None


def ready(entry: Entry) -> None:
    """Loads the base model and checks it and the adapters: InputError where none can be asked."""
    if backbone_family(entry.model) == "encoder":
        needed = "a model that writes: a decoder or an encoder-decoder"
        raise InputError(entry.model, found="an encoder", needed=needed)
    if entry.task:
        entry.merged(entry.scale)
    _base(entry.model, entry.how)


def answers(entry: Entry, prompt: str, choices: tuple[str, ...], t: float) -> dict[str, Answer]:
    """The answers of the `base`, of T (`task`) where it is known by itself, and of the `merged`.

    Args:
        entry: The adapters.
        prompt: What is asked; white space at its end is not.
        choices: The answers to choose from, each as it continues the prompt; or none.
        t: The scale.

    Raises:
        InputError: No prompt; one choice, or one twice; an adapter that does not fit the base.
    """
    if not prompt.strip():
        raise InputError("prompt", found="nothing", needed="text")
    if choices and not len(choices) == len({*choices}) > 1:
        raise InputError("choices", found=list(choices), needed="none, or two or more, each once")
    asked = Item("", prompt.rstrip(), choices, None, until=("\n",), max_gen_toks=_WRITTEN)
    found = {"base": _kept(entry.model, entry.how, None, asked)}
    if entry.task:
        found["task"] = _kept(entry.model, entry.how, entry.task, asked)
    with TemporaryDirectory() as stage:
        found["merged"] = _answer(entry.model, entry.how, entry.at(t, Path(stage)), asked)
    return found


def _base(model: str, how: str) -> Backbone:
    found = json.loads(how)
    return backbone(model, None, found.get("model_kwargs")).chatting(found.get("chat"))


@torch.no_grad()
def _answer(model: str, how: str, adapter: Path | None, asked: Item) -> Answer:
    base = _base(model, how)
    with base.adapted(adapter, notices=[]) as adapted:
        if asked.choices:
            logs = torch.tensor([log for log, _ in likelihoods(base, adapted, [asked])[0]])
            found = dict(zip(asked.choices, logs.double().softmax(0).tolist(), strict=True))
            return Answer(dict(sorted(found.items(), key=lambda pair: -pair[1])), None)
        state = forced_states(base, adapted, [prompt_ids(base, asked.prompt)], [[]])
        values, ids = Head.of(base.model).logits(state)[0].softmax(0).topk(_TOP)
        texts = _texts(base.tokenizer, ids.tolist())
        chances = dict(zip(texts, values.tolist(), strict=True))
        return Answer(chances, generations(base, adapted, [asked])[0])


_kept = lru_cache(maxsize=64)(_answer)
"""Moving t changes nothing of the base and of T."""


def _texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """Each token as it reads, with its number where two read alike, as parts of a character."""
    found = [json.dumps(tokenizer.decode([i]), ensure_ascii=False) for i in ids]
    return [x if found.count(x) == 1 else f"{x} {i}" for x, i in zip(found, ids, strict=True)]
