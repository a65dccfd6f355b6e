"""Measures of free answers that lm-evaluation-harness does not have.

A task names one of them under `process_results`.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["METRICS", "rouge", "squad"]

_ARTICLES = {"a", "an", "the"}


def squad(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of an extracted answer, the best over the gold answers.

    As SQuAD (arXiv 1606.05250) and XQuAD (arXiv 1910.11856) measure it: lower case, without
    punctuation (here of any script) and English articles; F1 over words, and over characters where
    a script does not part words with spaces. An empty answer is wrong.
    """
    answer = results[0]
    if not answer.strip():
        return {"exact_match": 0.0, "f1": 0.0}
    golds = doc["answers"]["text"]
    return {
        "exact_match": max(float(_normal(answer) == _normal(gold)) for gold in golds),
        "f1": max(_f1(answer, gold) for gold in golds),
    }


def rouge(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """ROUGE-L F-measure (Lin 2004) of a summary against `doc["summary"]`, over words as in F1.

    Computed by rouge-score, whose own tokenizer drops every letter outside a to z.
    """
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return _words(text.lower())

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    return {"rougeL": scorer.score(doc["summary"], results[0])["rougeL"].fmeasure}


METRICS = {"squad": squad, "rouge": rouge}


def _normal(text: str) -> str:
    kept = "".join(c for c in text.lower() if not _is_mark(c))
    return " ".join(word for word in kept.split() if word not in _ARTICLES)


def _is_mark(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _words(text: str) -> list[str]:
    """Words; each character by itself in scripts written without spaces."""
    spaced = "".join(f" {c} " if _unspaced(c) else c for c in text)
    return spaced.split()


def _unspaced(char: str) -> bool:
    name = unicodedata.name(char, "")
    return name.startswith(
        ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
    )


def _f1(answer: str, gold: str) -> float:
    found, wanted = _words(_normal(answer)), _words(_normal(gold))
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)
