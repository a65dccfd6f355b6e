"""Data descriptions: what can stand in a step's config, and the rows that it means.

    {"rows": "task", "task": {...}, "source": SOURCE, "max_samples": None}   # and
        "labelled": False where the answers must not be seen
        "bad_rows": "skip" where rows that do not fit are left out, in LINES, too
    {"rows": "unlabelled", "task": {...}, "field": "text", "lines": LINES}   # and
        "source_lines": LINES where labels of those are to be these lines' own
    # Either of these with "labelled": False may also have "words": WORDS, and the first
    # "source_rows": SOURCE as "source_lines".
    # "part": "learnt" or "held" where a tenth of the rows is held out
    {"rows": "dealt", "of": [...]}   # descriptions like these, of one text in several languages
    {"rows": "together", "of": [...]}   # descriptions like these, one after the other
    {"rows": "reference", "reference": "translation", "lines": LINES, ...}

LINES is {"source": SOURCE, "column": "text", "max_samples": 2000}; SOURCE is that of tasks.sources;
WORDS that of tasks.words.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from adamergex.errors import InputError
from adamergex.tasks.columns import columns_of
from adamergex.tasks.examples import Example, Item
from adamergex.tasks.harness import Questions
from adamergex.tasks.preparation import prepared
from adamergex.tasks.reference import COUNTERPARTS, FROM_TEXT, translation
from adamergex.tasks.row import Row
from adamergex.tasks.sources import Files, rows, taken, told
from adamergex.tasks.text import lines, parallel_lines
from adamergex.tasks.words import swapped_rows

__all__ = [
    "Asked",
    "Data",
    "asked",
    "beside",
    "coverage",
    "examples",
    "questions",
    "readings",
]

_Answer = TypeVar("_Answer")

_HELD = 10
"""Each of so many rows is held out, where some are."""


@dataclass(frozen=True)
class Data:
    """A description, and where the files that it names lie.

    Attributes:
        config: The description, JSON types only: part of a step's identity.
        files: SHA-256 -> path.
    """

    config: Mapping[str, Any]
    files: Files = field(default_factory=dict[str, Path])


def readings(data: Data) -> list[str]:
    """For people: each file that could be read otherwise, and how it is read."""
    found = [source for config in _parts(data.config) for source in _sources(config)]
    named = {source["file"]: told(source) for source in found if source and "file" in source}
    return [f"{data.files[sha]}: {how}" for sha, how in named.items() if how]


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The description itself, or those that it is made of."""
    return [part for each in config["of"] for part in _parts(each)] if "of" in config else [config]


def _sources(config: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    within = (config[key]["source"] for key in ("lines", "source_lines", "words") if key in config)
    return [config.get("source"), config.get("source_rows"), *within]


def questions(wanted: Mapping[str, Any], files: Files) -> Questions:
    """The task's questions that a description means.

    Raises:
        InputError: A description without questions; rows or templates that do not fit.
    """
    return _questions(wanted, _rows(wanted, files)[0])


def _questions(wanted: Mapping[str, Any], found: list[Row]) -> Questions:
    skip = wanted["rows"] == "task" and wanted.get("bad_rows") == "skip"
    return Questions(wanted["task"], found, labelled=_labelled(wanted), skip=skip)


def _labelled(wanted: Mapping[str, Any]) -> bool:
    return wanted["rows"] == "task" and wanted.get("labelled", True)


def _rows(wanted: Mapping[str, Any], files: Files) -> tuple[list[Row], float | None]:
    """The rows of a description of questions, and the coverage of its word list, if it has one."""
    if wanted["rows"] == "task":
        skip = wanted.get("bad_rows") == "skip"
        found = prepared(wanted["task"], rows(wanted["source"], files, faulty=skip))
        if "source_rows" in wanted:
            others = prepared(wanted["task"], rows(wanted["source_rows"], files))
            _check_parallel(wanted, found, others, files)
        found = taken(found, wanted["max_samples"])
    elif wanted["rows"] == "unlabelled":
        read = (
            parallel_lines(wanted["lines"], wanted["source_lines"], files)[0]
            if "source_lines" in wanted
            else lines(wanted["lines"], files)
        )
        found = [line.row.holding({wanted["field"]: str(line)}) for line in read]
    else:
        raise InputError("rows", found=wanted["rows"], needed="task or unlabelled")
    return swapped_rows(wanted["words"], found, files) if "words" in wanted else (found, None)


def _check_parallel(
    wanted: Mapping[str, Any], found: list[Row], others: list[Row], files: Files
) -> None:
    if len(found) != len(others):
        needed = f"{len(others)}, as in the source language: parallel items"
        name = files.get(wanted["source"].get("file", ""), wanted["source"])
        raise InputError(name, "rows", found=len(found), needed=needed)


@lru_cache(maxsize=64)
def _checked(wanted: str, files: tuple[tuple[str, Path], ...]) -> float | None:
    description, where = json.loads(wanted), dict(files)
    found, coverage = _rows(description, where)
    field = description.get("field")
    source = (description.get("lines") or description)["source"]
    name = where.get(source.get("file", ""), source)
    if found and description["rows"] == "task":
        there = dict.fromkeys(column for row in found for column in row)
        missing = columns_of(description["task"]) - there.keys()
        if missing:
            shown = ", ".join(map(str, there))
            raise InputError(name, "columns", found=shown, needed=f"{min(missing)}, too")
    if not any(field is None or row[field] for row in found):
        raise InputError(name, "rows with a text", found=0, needed="at least one")
    return coverage


def coverage(data: Data) -> float | None:
    """Reads the rows of questions without labels, if they are on this machine, and checks them.

    Returns:
        The share of words that their word list has; None where they have none, or lie on the Hub.

    Raises:
        InputError: No rows with a text; what should be parallel and is not; a list for another
            language.
    """
    if data.config["rows"] == "dealt":
        for part in data.config["of"]:
            coverage(Data(part, data.files))
        return None
    text = json.dumps(data.config, sort_keys=True)
    if '"hub": ' in text:
        return None
    return _checked(text, tuple(sorted(data.files.items())))


@dataclass(frozen=True)
class Asked:
    """What a teacher, or its student, is asked.

    Attributes:
        items: By the number of the line of text, or of the row, that each is made from.
        places: These numbers, and those of blank lines, which make no item.
        delimiter: What stands between a prompt and an answer in free text.
        coverage: The share of the text's words that a word list has, where there is one.
    """

    items: Mapping[int, Item]
    places: Sequence[int]
    delimiter: str
    coverage: float | None = None

    def completion(self, answer: str) -> str:
        """A free answer as it would continue its prompt."""
        return f"{self.delimiter}{answer.strip()}"

    def answered(self, answers: Sequence[_Answer]) -> dict[int, _Answer]:
        """The answers to the questions on all lines, blank ones included, by their numbers."""
        return dict(zip(self.places, answers, strict=True))


def asked(wanted: Mapping[str, Any], files: Files) -> Asked:
    """The questions that a description means, but those on blank lines.

    Of a text in several languages each line is taken from one of them, in turn. With a `part` only
    the rows of that, by the same numbers as without. What is put together has new numbers.

    Raises:
        InputError: As `questions`.
    """
    if "part" in wanted:
        whole = asked({key: x for key, x in wanted.items() if key != "part"}, files)
        held = wanted["part"] == "held"
        items = {i: x for i, x in whole.items.items() if (i % _HELD == _HELD - 1) == held}
        return replace(whole, items=items)
    if wanted["rows"] == "together":
        parts = [asked(part, files) for part in wanted["of"]]
        items = dict(enumerate(item for part in parts for item in part.items.values()))
        return Asked(items, list(items), parts[0].delimiter)
    if wanted["rows"] == "dealt":
        parts = [asked(part, files) for part in wanted["of"]]
        dealt = {
            i: item
            for k, part in enumerate(parts)
            for i, item in part.items.items()
            if i % len(parts) == k
        }
        return Asked(dict(sorted(dealt.items())), parts[0].places, parts[0].delimiter)
    read, known = _rows(wanted, files)
    found, field = _questions(wanted, read), wanted.get("field")
    pairs = zip(found.rows, found.items, strict=True)
    by_place = {int(item.id): (row, item) for row, item in pairs}
    items = {i: item for i, (row, item) in by_place.items() if field is None or row[field].strip()}
    return Asked(items, list(by_place), found.delimiter, known)


def beside(found: Asked, source: Asked, answers: Mapping[int, str]) -> Asked:
    """Questions behind the same ones in the source language and their answers.

    What a teacher is asked where its answers must be in the target language: it reads what it knows
    beside what it is to say (privileged context, as in COPSD, arXiv 2605.09548).

    Args:
        found: The questions.
        source: Those that they are parallel to.
        answers: The answers in free text to those, by their numbers.
    """
    items = {
        i: replace(item, prompt=f"{known.prompt}{source.completion(answers[i])}\n\n{item.prompt}")
        for i, item in found.items.items()
        if (known := source.items.get(i)) is not None
    }
    return replace(found, items=items)


def examples(
    wanted: Mapping[str, Any], files: Files, labels: Sequence[int | str] | None = None
) -> list[Example]:
    """Training rows.

    Args:
        wanted: The description.
        files: See tasks.sources.rows.
        labels: For unlabelled rows, the answer to each: an index among the choices, or a text.
            Empty lines, and rows with an empty text, are left out. Rows put together that have
            labels of their own take none.

    Raises:
        InputError: As `questions`; texts that should be parallel and are not.
    """
    if wanted["rows"] == "reference":
        return _reference(wanted, files)
    if wanted["rows"] == "together":
        parts = ((part, None if _labelled(part) else labels) for part in wanted["of"])
        return [row for part, given in parts for row in examples(part, files, given)]
    if labels is None:
        labelled = questions(wanted, files)
        for notice in labelled.left_out:
            logging.getLogger("adamergex").warning("adamergex: %s", notice)
        return labelled.examples()
    found = asked(wanted, files)
    answers = found.answered(labels)
    return [
        Example(item.prompt, item.choices[label], label, item.tail)
        if isinstance(label, int)
        else Example(item.prompt, found.completion(label), tail=item.tail)
        for item, label in ((item, answers[i]) for i, item in found.items.items())
        if isinstance(label, int) or label.strip()
    ]


def _reference(wanted: Mapping[str, Any], files: Files) -> list[Example]:
    if wanted["reference"] in FROM_TEXT:
        read = lines(wanted["lines"], files)
        return FROM_TEXT[wanted["reference"]]([line for line in read if line])
    read, written = parallel_lines(wanted["lines"], wanted["source_lines"], files)
    made = COUNTERPARTS.get(wanted.get("counterpart", ""))
    if made is not None:
        read = [made(line, random.Random(i)) for i, line in enumerate(written)]
    return translation(read, written, wanted["into"])
