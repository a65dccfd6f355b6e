"""Reference tasks: what Rt and Rs are trained on, from text without labels.

Each makes the rows of one adapter from lines of text. Where the lines of Rt and Rs are parallel and
in the same order, the two differ in language and in nothing else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.examples import Example

__all__ = [
    "ACROSS",
    "COUNTERPARTS",
    "DISTILLATION",
    "FAMILY_OF",
    "FROM_T",
    "FROM_TEXT",
    "LABELLED_BY_T",
    "PLAIN",
    "READING",
    "REFERENCES",
    "cloze",
    "plain_text",
    "prompting",
    "span_corruption",
    "translation",
]

_WORD = re.compile(r"[^\W\d_]{2,}")


def plain_text(lines: Sequence[str]) -> list[Example]:
    """The text itself: a decoder learns to write it, as in the paper (arXiv 2402.18913).

    An encoder learns to fill in what training masks (masked LM, arXiv 1810.04805).
    """
    return [Example("", line) for line in lines]


def cloze(lines: Sequence[str]) -> list[Example]:
    """A word left out of each line, and asked for in the form of a question.

    Where a script does not part words, a run of up to three letters stands for the word. Lines
    without letters are left out.
    """
    rows: list[Example] = []
    for number, line in enumerate(lines):
        draw = random.Random(number)  # parallel lines are cut at their own places, always the same
        words = list(_WORD.finditer(line))
        if not words:
            continue
        start, end = draw.choice(words).span()
        if end - start > 20:  # no word is so long: a clause without spaces
            start = draw.randrange(start, end - 3)
            end = start + 3
        rows.append(Example(f"Text: {line[:start]}___{line[end:]}\nWord:", f" {line[start:end]}"))
    return rows


def span_corruption(lines: Sequence[str]) -> list[Example]:
    """Spans of each line replaced by T5's sentinels, and the spans to be restored.

    As T5 is pre-trained (arXiv 1910.10683): about 15% of the words, in spans of 3 on average; of
    the characters where there are fewer than 8 words.
    """
    return [_corrupted(line, random.Random(number)) for number, line in enumerate(lines)]


def translation(lines: Sequence[str], source_lines: Sequence[str], into: str) -> list[Example]:
    """Each line put into the source language: the adapter learns to read it.

    Args:
        lines: What is to be read; for Rs, the source text itself or what a counterpart made of it.
        source_lines: What is to be written, line by line.
        into: The name of the source language.

    Raises:
        InputError: Texts of different lengths: they are not parallel.
    """
    if len(lines) != len(source_lines):
        needed = f"{len(source_lines)}, as in the source language: parallel text"
        raise InputError("translation", "lines", found=len(lines), needed=needed)
    pairs = zip(lines, source_lines, strict=True)
    return [
        Example(f"{line} in {into}:", f" {wanted}") for line, wanted in pairs if line and wanted
    ]


def _copied(line: str, draw: random.Random) -> str:  # noqa: ARG001 - the same form as the others
    return line


def _shuffled(line: str, draw: random.Random) -> str:
    words = line.split()
    draw.shuffle(words)
    return " ".join(words)


def _dropped(line: str, draw: random.Random) -> str:
    """About a third of the words left out, at least one kept."""
    words = line.split()
    kept = [word for word in words if draw.random() > 1 / 3]
    return " ".join(kept or words[:1])


COUNTERPARTS: Mapping[str, Callable[[str, random.Random], str]] = MappingProxyType(
    {"copy": _copied, "shuffled": _shuffled, "dropped": _dropped}
)
"""What Rs reads where Rt reads a foreign line: made from the source line."""

FROM_TEXT: Mapping[str, Callable[[Sequence[str]], list[Example]]] = MappingProxyType(
    {
        "causal-lm": plain_text,
        "masked-lm": plain_text,
        "span-corruption": span_corruption,
        "cloze": cloze,
    }
)
"""Reference tasks that need text in the one language only."""

FAMILY_OF: Mapping[str, str] = MappingProxyType(
    {"causal-lm": "decoder", "masked-lm": "encoder", "span-corruption": "encoder-decoder"}
)
"""The one family of backbone that a way of language modelling is for."""

PLAIN = "language-modelling"
"""The one of these that the backbone's family learns by, where a recipe names none of them."""

LABELLED_BY_T = ("self-labelled", "projected-labels")
"""The target task on text that T labelled: on each language's own lines, or on the source side."""

DISTILLATION = "distillation"
"""T's own distributions at source prompts, to be had at the parallel target prompts."""

READING = "reading"
"""The base's own distributions after prompts of no task about source text, to be had about the
parallel target text: one adapter for a language, whatever T is."""

_PROMPTS = ("In {source}:", "In other words:", "In short:", "This is about")
_READING_TOKENS = 16
"""What the base says of a line is learnt so far."""


def prompting(prompts: Sequence[str], source: str) -> list[dict[str, Any]]:
    """Prompts of no task, each as a task in lm-evaluation-harness's form.

    Args:
        prompts: Templates over `text`; by default four that ask for the line in the source language
            and in other words.
        source: The name of the source language.
    """
    asked = prompts or [f"{{{{text}}}}\n{end.format(source=source)}" for end in _PROMPTS]
    return [
        {
            "task": READING,
            "output_type": "generate_until",
            "doc_to_text": prompt,
            "doc_to_target": "",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": _READING_TOKENS},
            "metric_list": [
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
            ],
        }
        for prompt in asked
    ]


ACROSS = ("projected-labels", DISTILLATION, READING)
"""What is taught about source text, and learnt on what stands for that in another language."""

FROM_T = (*LABELLED_BY_T, DISTILLATION)
"""What is learnt from T, and so made anew for each target task."""

REFERENCES = (*FROM_TEXT, "translation", READING, *FROM_T)


def _corrupted(line: str, draw: random.Random) -> Example:
    words = line.split()
    by_word = len(words) >= 8
    units, glue = (words, " ") if by_word else (list(line), "")
    spans = max(1, round(len(units) * 0.15 / 3))
    prompt, completion, position = list[str](), list[str](), 0
    for i in range(spans):
        # One span in each of as many equal stretches: none overlap.
        stop = (i + 1) * len(units) // spans
        length = max(1, min(draw.randint(1, 5), stop - position - 1))
        start = draw.randint(position, max(position, stop - length))
        sentinel = f"<extra_id_{i}>"
        prompt += [*units[position:start], sentinel]
        completion += [sentinel, *units[start : start + length]]
        position = start + length
    prompt += units[position:]
    completion.append(f"<extra_id_{spans}>")
    return Example(glue.join(prompt), glue.join(completion))
