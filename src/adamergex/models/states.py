"""The states that a model is in when it begins an answer, and after each token of it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models.attention import attends_by_row, window
from adamergex.models.backbone import Backbone
from adamergex.models.forward import alike, has_prefix, padded
from adamergex.tasks import Example

__all__ = ["answer_states", "forced_states", "prompt_ids"]


def prompt_ids(
    backbone: Backbone, prompt: str, max_length: int | None = None, *, tail: int = 0
) -> list[int]:
    """The tokens of a prompt, as they are scored: a decoder's without white space at the end.

    Args:
        backbone: Tokenizer and base.
        prompt: The prompt.
        max_length: The most tokens.
        tail: See tasks.Example.

    Raises:
        InputError: An encoder, which has no answer to come after its prompt.
    """
    if backbone.family == "encoder":
        needed = "a decoder or an encoder-decoder, which writes answers"
        raise InputError("distillation", "model", found="an encoder", needed=needed)
    tokens = backbone.tokens(Example(prompt, "", tail=tail), end=False, max_length=max_length)
    return tokens.ids[: tokens.prompt_length]


def answer_states(
    backbone: Backbone, model: Any, rows: list[list[int]], *, shared: bool = False
) -> Tensor:
    """The hidden state at the last token of each row, below the output layer: (rows, width).

    Args:
        backbone: Whose device the rows go to.
        model: The base, or the base with an adapter on it.
        rows: Token ids of prompts.
        shared: Whether what a row begins with as the row before it does is run once, where the
            model can. That rounds otherwise, in the last digits.
    """
    begins = _begins(backbone, model, rows, list(map(len, rows)), shared)
    own = [len(row) - begin for row, begin in zip(rows, begins, strict=True)]
    ends = (torch.tensor(own).cumsum(0) - 1).to(backbone.model.device)
    return backbone.hidden(model, rows, begins, ends if shared else None)[ends]


def forced_states(
    backbone: Backbone,
    model: Any,
    prompts: list[list[int]],
    answers: list[list[int]],
    *,
    shared: bool = False,
) -> Tensor:
    """The states before each token of each answer, and the one that follows its last.

    One more than an answer has tokens: before one without a token it is the state that the prompt
    ends in. All answers' states one after another: (tokens and answers in all, width).

    Args:
        backbone: A decoder, or an encoder-decoder, whose states are its decoder's.
        model: The base, or the base with an adapter on it.
        prompts: Token ids of each.
        answers: Token ids of what is to follow each.
        shared: As in `answer_states`.
    """
    if backbone.family == "encoder-decoder":
        return _decoded(backbone, model, prompts, answers)
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    begins = _begins(backbone, model, rows, list(map(len, prompts)), shared)
    ends = accumulate(len(row) - begin for row, begin in zip(rows, begins, strict=True))
    pairs = zip(ends, answers, strict=True)
    places = torch.cat([torch.arange(end - len(answer) - 1, end) for end, answer in pairs])
    places = places.to(backbone.model.device)
    return backbone.hidden(model, rows, begins, places)[places]


def _decoded(
    backbone: Backbone, model: Any, prompts: list[list[int]], answers: list[list[int]]
) -> Tensor:
    base, device = backbone.model, backbone.model.device
    ids, mask = padded(prompts, backbone.tokenizer.pad_token_id or 0)
    start = base.config.decoder_start_token_id
    written, kept = padded([[start, *answer] for answer in answers])
    with _before(base.get_output_embeddings()) as states:
        model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            decoder_input_ids=written.to(device),
            use_cache=False,
        )
    return states[0][kept.bool().to(device)]


@contextmanager
def _before(layer: Any) -> Generator[list[Tensor]]:
    """What goes into a layer, which itself is run for no more than the first token."""
    kept: list[Tensor] = []

    def keep(_: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        kept.append(inputs[0])
        return (inputs[0][:, :1],)

    hook = layer.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def _begins(
    backbone: Backbone, model: Any, rows: list[list[int]], prompts: list[int], shared: bool
) -> list[int]:
    """How many tokens of each row need not be run again; the last of its prompt always is."""
    base, longest = backbone.model, max(map(len, rows))
    if not shared or has_prefix(model) or longest > window(base) or not attends_by_row(base):
        return [0] * len(rows)
    most = [length - 1 for length in prompts[1:]]
    return [0, *(alike(pair, n) for pair, n in zip(pairwise(rows), most, strict=True))]
