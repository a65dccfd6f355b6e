"""Data descriptions: what can stand in a step's config, and the rows that it means.

    {"rows": "task", "task": {...}, "source": SOURCE, "max_samples": None}   # and
        "labelled": False where the answers must not be seen
        "bad_rows": "skip" where rows that do not fit are left out, in LINES, too
    {"rows": "unlabelled", "task": {...}, "field": "text", "lines": LINES}   # and
        "source_lines": LINES where labels of those are to be these lines' own
    {"rows": "reference", "reference": "translation", "lines": LINES, ...}

LINES is {"source": SOURCE, "column": "text", "max_samples": 2000}; SOURCE is that of tasks.sources.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.examples import Example
from adamergex.tasks.harness import Questions
from adamergex.tasks.preparation import prepared
from adamergex.tasks.reference import COUNTERPARTS, FROM_TEXT, translation
from adamergex.tasks.sources import Files, rows, taken, told
from adamergex.tasks.text import lines, parallel_lines

__all__ = ["Data", "examples", "questions", "readings"]


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
    config = data.config
    found = [config.get("source")]
    found += [config[key]["source"] for key in ("lines", "source_lines") if key in config]
    named = {source["file"]: told(source) for source in found if source and "file" in source}
    return [f"{data.files[sha]}: {how}" for sha, how in named.items() if how]


def questions(wanted: Mapping[str, Any], files: Files) -> Questions:
    """The task's questions that a description means.

    Raises:
        InputError: A description without questions; rows or templates that do not fit.
    """
    if wanted["rows"] == "task":
        skip = wanted.get("bad_rows") == "skip"
        found = prepared(wanted["task"], rows(wanted["source"], files, faulty=skip))
        found = taken(found, wanted["max_samples"])
        labelled = wanted.get("labelled", True)
        return Questions(wanted["task"], found, labelled=labelled, skip=skip)
    if wanted["rows"] == "unlabelled":
        read = (
            parallel_lines(wanted["lines"], wanted["source_lines"], files)[0]
            if "source_lines" in wanted
            else lines(wanted["lines"], files)
        )
        found = [line.row.holding({wanted["field"]: str(line)}) for line in read]
        return Questions(wanted["task"], found, labelled=False)
    raise InputError("rows", found=wanted["rows"], needed="task or unlabelled")


def examples(
    wanted: Mapping[str, Any], files: Files, labels: Sequence[int | str] | None = None
) -> list[Example]:
    """Training rows.

    Args:
        wanted: The description.
        files: See tasks.sources.rows.
        labels: For unlabelled rows, the answer to each: an index among the choices, or a text.
            Empty lines, and rows with an empty text, are left out.

    Raises:
        InputError: As `questions`; texts that should be parallel and are not.
    """
    if wanted["rows"] == "reference":
        return _reference(wanted, files)
    asked = questions(wanted, files)
    for notice in asked.left_out:
        logging.getLogger("adamergex").warning("adamergex: %s", notice)
    if labels is None:
        return asked.examples()
    return [
        Example(item.prompt, item.choices[label], label, item.tail)
        if isinstance(label, int)
        else Example(item.prompt, f"{asked.delimiter}{label.strip()}", tail=item.tail)
        for row, item, label in zip(asked.rows, asked.items, labels, strict=True)
        if row[wanted["field"]] and (isinstance(label, int) or label.strip())
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
