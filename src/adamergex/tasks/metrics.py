"""Measures of free answers that lm-evaluation-harness does not have.

A task names one of them under `process_results`; `squad_de` is `squad` by the rules of German.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from adamergex.tasks.languages import code_for
from adamergex.tasks.numerals import harness_number, last_number

__all__ = [
    "AGGREGATIONS",
    "METRICS",
    "Measure",
    "harness_squad",
    "measure",
    "number",
    "rouge",
    "squad",
    "weighted_f1",
]

Measure = Callable[[Mapping[str, Any], Sequence[str]], dict[str, float]]
"""Of a row and the one answer to it: metric -> value."""

_ARTICLES: Mapping[str, str] = MappingProxyType(
    {
        "en": r"\b(?:a|an|the)\b",
        "es": r"\b(?:un|una|unos|unas|el|la|los|las)\b",
        "vi": r"\b(?:của|là|cái|chiếc|những)\b",
        "de": r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
        "ar": r"(?:^|\s)ال",
        "el": r"\b(?:ο|η|το|οι|τα|του|της|των|τον|την|τη|τους|τις|ένας|μια|μία|ένα|ενός|έναν)\b",
        "ro": r"\b(?:un|o|unui|unei|unor|niște)\b",
    }
)
"""What MLQA's script drops in its languages, and Greek and Romanian articles, which it lacks."""
_NO_ASCII_MARKS = str.maketrans("", "", string.punctuation)
_UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""Unicode's names of characters in scripts that do not part words with spaces begin so."""


def squad(
    doc: Mapping[str, Any], results: Sequence[str], language: str | None = None
) -> dict[str, float]:
    """Exact match and F1 of an extracted answer, the best over the gold answers.

    SQuAD 1.1's rules (arXiv 1606.05250) as MLQA (arXiv 1910.07475) has them in other languages:
    lower case, without punctuation of any script, without the language's articles; then words
    between spaces and, of scripts without spaces, characters. Both compare the same words. Unlike
    there an empty answer is always wrong, and Turkish I is lower-cased as Turkish does.

    Args:
        doc: The row: `answers` with a list `text`.
        results: The one answer.
        language: Whose articles are dropped; None for English.

    Raises:
        ValueError: A row without a gold answer.
    """
    if not len(doc["answers"]["text"]):
        raise ValueError("no gold answer")
    if not results[0].strip():
        return {"exact_match": 0.0, "f1": 0.0}
    golds = [_answer_words(gold, language) for gold in doc["answers"]["text"]]
    found = _answer_words(results[0], language)
    return {
        "exact_match": max(float(found == gold) for gold in golds),
        "f1": max(_f1(found, gold) for gold in golds),
    }


def harness_squad(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """What lm-evaluation-harness's xquad measures: SQuAD's English rules in every language.

    Without ASCII punctuation and English articles, over words between spaces, of the first gold
    answer alone. An answer of no words is right where the gold one has none, either.
    """
    found, gold = (
        re.sub(_ARTICLES["en"], " ", text.lower().translate(_NO_ASCII_MARKS)).split()
        for text in (results[0], doc["answers"]["text"][0])
    )
    f1 = _f1(found, gold) if found and gold else float(found == gold)
    return {"exact_match": float(found == gold), "f1": f1}


def rouge(
    doc: Mapping[str, Any], results: Sequence[str], language: str | None = None
) -> dict[str, float]:
    """ROUGE-L F-measure (Lin 2004) of a summary against `doc["summary"]`, by rouge-score.

    In English with rouge-score's own words, `[a-z0-9]+` of the text in lower case. Else a word is a
    run of letters, vowel signs and digits of any script; a character of a script without spaces is
    a word of its own. For texts in ASCII the two are the same.

    Args:
        doc: The row, with `summary`.
        results: The one answer.
        language: Its code.
    """
    gold = str(doc["summary"])
    if not results[0].strip():
        return {"rougeL": 0.0}
    scored = _rouge_scorer(language).score(gold, results[0])
    return {"rougeL": float(scored["rougeL"].fmeasure)}


def number(
    doc: Mapping[str, Any], results: Sequence[str], language: str | None = None
) -> dict[str, float]:
    """Whether the last number of an answer is the gold one, read as the language writes numbers.

    What lm-evaluation-harness's mgsm counts right by `flexible-extract` is right, too. The gold one
    is the last of `answer_number` or, without that, of `answer`, as English writes it.

    Args:
        doc: The row.
        results: The one answer.
        language: See numerals.last_number.

    Raises:
        ValueError: A row without a gold number.
    """
    written = doc.get("answer_number")
    written = str(doc.get("answer") if written is None else written)
    gold = last_number(written)
    if gold is None:
        raise ValueError(f"no number in the answer {written!r}")
    answer = results[0]
    right = last_number(answer, language) == gold or harness_number(answer, gold)
    return {"exact_match": float(right)}


METRICS: Mapping[str, Callable[..., dict[str, float]]] = MappingProxyType(
    {"squad": squad, "rouge": rouge, "number": number}
)
"""Those that may be followed by `_` and a language."""


def weighted_f1(items: Sequence[tuple[int, int]]) -> float:
    """F1 of each class, weighted by how often it is the gold one, of (gold, predicted) pairs."""
    from sklearn.metrics import f1_score

    gold, predicted = zip(*items, strict=True)
    return float(f1_score(gold, predicted, average="weighted"))


AGGREGATIONS: Mapping[str, Callable[[Sequence[Any]], float]] = MappingProxyType(
    {"weighted_f1": weighted_f1}
)
"""Ways to bring items' values together that lm-evaluation-harness's registry does not have."""


def measure(name: str) -> Measure | None:
    """The measure of a name: `squad`, or `squad_de`; None where there is no such measure."""
    if name == "harness_squad":
        return harness_squad
    kind, _, language = name.partition("_")
    if kind not in METRICS or name.endswith("_"):
        return None
    return partial(METRICS[kind], language=language) if language else METRICS[kind]


def _answer_words(text: str, language: str | None) -> list[str]:
    kept = "".join(c for c in _lowered(text, language) if not _is_mark(c))
    articles = _ARTICLES.get(code_for(language or "en", "iso"))
    return _words(re.sub(articles, " ", kept) if articles else kept)


def _f1(found: list[str], gold: list[str]) -> float:
    """That of the bags of words."""
    shared = sum((Counter(found) & Counter(gold)).values())
    return 2 * shared / (len(found) + len(gold)) if shared else 0.0


@lru_cache
def _rouge_scorer(language: str | None) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return _text_words(text, language)

    english = language is not None and code_for(language, "iso") == "en"
    return RougeScorer(["rougeL"], tokenizer=None if english else Words())


def _text_words(text: str, language: str | None) -> list[str]:
    kept = (c for c in _lowered(text, language) if unicodedata.category(c) != "Cf")
    return _words("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in kept))


def _lowered(text: str, language: str | None) -> str:
    if language is not None and code_for(language, "iso") in ("az", "tr"):
        text = text.replace("İ", "i").replace("I", "ı")
    return text.lower()


def _words(text: str) -> list[str]:
    return "".join(f" {c} " if _unspaced(c) else c for c in text).split()


def _is_mark(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


@lru_cache(maxsize=2**16)
def _unspaced(char: str) -> bool:
    return unicodedata.name(char, "").startswith(_UNSPACED)
