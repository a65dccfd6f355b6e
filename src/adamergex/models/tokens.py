"""Rows as token ids, cut where lm-evaluation-harness would cut them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from adamergex.tasks import Example

__all__ = ["Tokens", "fitted", "pair_tokens", "row_tokens", "shortened"]


@dataclass(frozen=True)
class Tokens:
    """One row as token ids.

    Attributes:
        ids: Prompt and completion.
        prompt_length: How many of them are the prompt; at least 1.
    """

    ids: list[int]
    prompt_length: int

    @property
    def answer(self) -> list[int]:
        """The completion's."""
        return self.ids[self.prompt_length :]


def row_tokens(
    tok: Any, rows: Sequence[Example], *, end: bool, most: int | None, begin: bool = True
) -> list[Tokens]:
    """Rows for a decoder, each one text, split where the prompt's own tokens end.

    As in lm-evaluation-harness, white space at the end of the prompt belongs to the completion, and
    both are tokenised together: words that run over the border are then as in running text.

    Args:
        tok: The tokenizer.
        rows: The rows.
        end: Whether to add the end-of-text token: a model must learn to stop.
        most: The most tokens. The prompt is cut before its tail, if it has one, or on the left;
            then the completion on the right.
        begin: Whether to add the token that begins texts; a chat's template has it.
    """
    if not rows:
        return []
    rows = [row if most is None else _with_room(tok, row, most, row.completion) for row in rows]
    start = [] if tok.bos_token_id is None or not begin else [tok.bos_token_id]
    ending = [tok.eos_token_id] if end else []
    prompts = list(dict.fromkeys(row.prompt.rstrip() for row in rows))
    lengths = map(len, tok(prompts, add_special_tokens=False).input_ids)
    splits = dict(zip(prompts, lengths, strict=True))
    texts = [row.prompt + row.completion for row in rows]
    found: list[Tokens] = []
    for row, ids in zip(rows, tok(texts, add_special_tokens=False).input_ids, strict=True):
        split = splits[row.prompt.rstrip()]
        # What ended one text begins the next.
        before = start if start or split else [tok.eos_token_id]
        found.append(fitted(before, ids[:split], [*ids[split:], *ending], most))
    return found


def pair_tokens(tok: Any, row: Example, *, end: bool, most: int | None) -> Tokens:
    """A row for an encoder-decoder: prompt and completion apart, each with its own end token."""
    row = row if most is None else _with_room(tok, row, most, "")
    prompt = tok(row.prompt, add_special_tokens=True).input_ids
    completion = tok(row.completion, add_special_tokens=False).input_ids
    if end:
        completion = [*completion, tok.eos_token_id]
    kept = prompt if most is None else prompt[-most:]
    return Tokens([*kept, *completion[:most]], len(kept))


def shortened(tok: Any, prompt: str, tail: int, most: int) -> str:
    """A prompt of at most `most` tokens: what is before its tail loses its end.

    Args:
        tok: The tokenizer.
        prompt: The prompt.
        tail: How many characters at its end stay. With 0, or more tokens than there is room for,
            the prompt is returned as it is.
        most: The most tokens, without those that begin and end texts.
    """
    ids = tok(prompt, add_special_tokens=False).input_ids
    head, end = prompt[: len(prompt) - tail], prompt[len(prompt) - tail :]
    spare = 0
    while tail and len(ids) > most:
        spare = 2 * spare + 1  # where two parts meet there may be a token more
        kept = most - len(tok(end, add_special_tokens=False).input_ids) - spare
        if kept <= 0:
            return prompt
        first = tok(head, add_special_tokens=False).input_ids[:kept]
        text = head[: len(tok.decode(first))] + end
        ids = tok(text, add_special_tokens=False).input_ids
        if len(ids) <= most:
            return text
    return prompt


def _with_room(tok: Any, row: Example, most: int, after: str) -> Example:
    """A row whose prompt leaves room for `after` and two tokens that begin and end a text."""
    if not row.tail:
        return row
    room = most - 2 - len(tok(after, add_special_tokens=False).input_ids)
    return replace(row, prompt=shortened(tok, row.prompt, row.tail, room))


def fitted(start: list[int], prompt: list[int], completion: list[int], most: int | None) -> Tokens:
    """A row of at most `most` tokens: the prompt is cut on the left, then the completion."""
    if most is not None:
        completion = completion[: most - len(start)]
        room = most - len(start) - len(completion)
        prompt = prompt[len(prompt) - room :] if room < len(prompt) else prompt
    return Tokens([*start, *prompt, *completion], len(start) + len(prompt))
