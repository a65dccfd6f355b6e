"""Source text in which words are replaced by their translations from a bilingual list."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.row import CellError, Row, text_of
from adamergex.tasks.sources import Files, Source, file_source, rows

__all__ = ["LEAST", "WordList", "swapped_rows", "word_source"]

LEAST = 0.1
"""Of a text's words the share that a list must have: with less it is a list for another language,
or the wrong way round."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_COLUMNS = ("word", "translation")
_LONGEST = 5
"""Words of an entry; longer ones are sentences."""


def word_source(path: str, folder: Path) -> tuple[Source, dict[str, Path]]:
    """The source of a word list: csv or tsv of two columns without a header line.

    Args:
        path: A word or a short phrase of the source language in the first column, a translation in
            the second; several rows where there are several translations.
        folder: What relative paths start from.

    Raises:
        InputError: No such file, or of another format.
    """
    source, where = file_source(path, folder, _COLUMNS)
    if source["format"] not in ("csv", "tsv"):
        needed = "csv or tsv: a word, and its translation"
        raise InputError(where, "file name", found=f".{source['format']}", needed=needed)
    return source, {source["file"]: where}


@dataclass(frozen=True)
class _Match:
    """Words of a text that the list has.

    Attributes:
        span: Where they are.
        words: How many.
        translations: What the list has for them.
    """

    span: tuple[int, int]
    words: int
    translations: Sequence[str]


class WordList:
    """Translations of the words and short phrases of one language.

    Case is not told apart. A word that the list has not falls back on its stem, by the Snowball
    stemmer of its language where there is one (of English it takes plurals, 's, -ed and -ing off,
    among others): the shortest entry of that stem stands for it.

    Args:
        pairs: A word or phrase, and a translation.
        language: The English name of the words' language.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], language: str) -> None:
        self._exact: dict[str, list[str]] = {}
        for entry, translation in pairs:
            words = _WORD.findall(entry.casefold())
            if words and len(words) <= _LONGEST:
                self._exact.setdefault(" ".join(words), []).append(translation)
        self._longest = max((key.count(" ") + 1 for key in self._exact), default=0)
        self._stem = _stemmer(language)
        self._stems: dict[str, str] = {}
        for key in sorted(self._exact, key=lambda key: (len(key), key)):
            if self._stem and " " not in key:
                self._stems.setdefault(self._stem(key), key)

    def swapped(self, text: str, share: float, draw: random.Random) -> tuple[str, int, int]:
        """A text with words replaced.

        Args:
            text: The text. Where two entries fit, the one of more words does.
            share: Of the words that the list has, how many are replaced: up or down to a whole
                number by chance, so that it is right on average.
            draw: Which, and by which of several translations.

        Returns:
            The new text, how many words the list has, and how many there are.
        """
        spans = [match.span() for match in _WORD.finditer(text)]
        found = list(self._matches(text, spans))
        some = draw.sample(range(len(found)), int(share * len(found) + draw.random()))
        parts, position = list[str](), 0
        for i in sorted(some):
            start, end = found[i].span
            new = draw.choice(found[i].translations)
            if text[start].isupper():
                new = new[:1].upper() + new[1:]
            parts += [text[position:start], new]
            position = end
        known = sum(match.words for match in found)
        return "".join([*parts, text[position:]]), known, len(spans)

    def _matches(self, text: str, spans: Sequence[tuple[int, int]]) -> Any:
        i = 0
        while i < len(spans):
            match = self._match(text, spans[i : i + self._longest])
            if match is not None:
                yield match
            i += match.words if match else 1

    def _match(self, text: str, spans: Sequence[tuple[int, int]]) -> _Match | None:
        """The longest entry that a run of words begins with."""
        joined = 1
        while joined < len(spans) and text[spans[joined - 1][1] : spans[joined][0]] in (" ", "-"):
            joined += 1
        for n in range(joined, 0, -1):
            key = " ".join(text[start:end] for start, end in spans[:n]).casefold()
            if n == 1 and key not in self._exact and self._stem:
                key = self._stems.get(self._stem(key), key)
            if key in self._exact:
                return _Match((spans[0][0], spans[n - 1][1]), n, self._exact[key])
        return None


def swapped_rows(
    wanted: Mapping[str, Any], found: Sequence[Row], files: Files
) -> tuple[list[Row], float]:
    """Rows with words replaced in some of their fields, and the share of words that the list has.

    Args:
        wanted: `source` (see word_source), `fields`, `share`, `seed`, and the English name of the
            rows' `language`.
        found: The rows.
        files: See sources.rows.

    Raises:
        InputError: A list that is none, or has less than LEAST of the words; a field that the rows
            do not have, or that is no text.
    """
    name = files[wanted["source"]["file"]]
    words = WordList(_pairs(wanted["source"], files), wanted["language"])
    columns = dict.fromkeys(column for row in found for column in row)
    made: list[Row] = []
    known = total = 0
    for number, row in enumerate(found):
        new = dict(row)
        for field in wanted["fields"] if row.fault is None else ():
            if field not in columns:
                needed = f"a column: {' or '.join(map(str, columns))}"
                raise InputError("reference", "field", found=field, needed=needed)
            try:
                text = text_of(row.get(field))
            except CellError as error:
                raise row.error(field, found=str(error), needed="text") from None
            draw = random.Random(f"{wanted['seed']} {number} {field}")
            new[field], own, all_words = words.swapped(text, wanted["share"], draw)
            known, total = known + own, total + all_words
        made.append(row.holding(new) if row.fault is None else row)
    coverage = known / total if total else 0.0
    if coverage < LEAST:
        found_there = f"{math.floor(100 * coverage)}% of the text's words"
        needed = f"{LEAST:.0%} or more: words of {wanted['language']} in the first column"
        raise InputError(name, found=found_there, needed=needed)
    return made, coverage


def _pairs(source: Source, files: Files) -> list[tuple[str, str]]:
    """The entries of a word list; the second column must have a text in each row."""
    pairs: list[tuple[str, str]] = []
    for row in rows(source, files):
        word, translation = (str(row.get(column) or "").strip() for column in _COLUMNS)
        if not translation:
            raise row.error(found="no translation", needed="two columns: a word, its translation")
        pairs.append((word, " ".join(translation.split())))
    return pairs


def _stemmer(language: str) -> Any:
    """The function that takes a word to its stem; None for a language that Snowball has not."""
    from nltk.stem.snowball import SnowballStemmer

    name = language.lower()
    return SnowballStemmer(name).stem if name in SnowballStemmer.languages else None
