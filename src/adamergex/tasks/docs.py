"""The rows of a task as they are asked: each with its prompt, its choices and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.answers import golds
from adamergex.tasks.row import Row, cell
from adamergex.tasks.templates import Target, Templates

__all__ = ["Doc", "Docs", "docs_of"]


class Doc(Row):
    """A row with what its task's templates make of it.

    Attributes:
        place: Which of the rows it is that there are of the task, from 0.
        description: What stands before the prompt.
        text: The prompt.
        prefix: What the answer begins with; None where the task has none.
        choices: The answers to choose from; empty for free text.
        gold: Which of them is right; None without labels, and for free text.
        answers: For free text: the answers that are right, the first of which is learnt.
        several: Whether the row's answer is a list.
        target: What lm-evaluation-harness takes for the answer: `gold`, or one or more texts.
    """

    place: int
    description: str
    text: str
    prefix: str | None
    choices: list[str]
    gold: int | None
    answers: list[str]
    several: bool
    target: int | str | list[str]


class Docs(list[Doc]):
    """The docs of a task, as lm-evaluation-harness wants a data set to be.

    Attributes:
        features: The columns that any of them has.
    """

    features: dict[str, None]


@dataclass(frozen=True)
class _Asked:
    doc: Doc
    target: Target | None


def docs_of(
    config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, labelled: bool, skip: bool
) -> tuple[Docs, list[InputError], Templates]:
    """The docs of a task, what is wrong with the rows that are none, and the templates.

    Args:
        config: The task in one language.
        rows: Its rows.
        labelled: Whether they have the answer.
        skip: Whether rows that the task does not fit are left out.

    Raises:
        InputError: Such a row, if not; none that fits.
    """
    own = [row if isinstance(row, Row) else _row(row, i) for i, row in enumerate(rows)]
    own_faults = [row.fault for row in own if row.fault is not None]
    if len(own_faults) == len(own):
        raise _none_fits(config, own_faults)
    columns = dict.fromkeys(name for row in own for name in row)
    templates = Templates(config, columns, own[0].file, labelled=labelled)
    made: list[_Asked] = []
    faults: list[InputError] = []
    for place, row in enumerate(own):
        try:
            made.append(_asked(config, row, templates, labelled=labelled))
            made[-1].doc.place = place
        except InputError as error:
            faults.append(_kept(error, skip=skip))
    docs = Docs()
    for each, gold in zip(made, _golds(config, made, labelled=labelled), strict=True):
        if isinstance(gold, InputError):
            faults.append(_kept(gold, skip=skip))
            continue
        each.doc.gold = gold
        docs.append(each.doc)
    if not docs:
        raise _none_fits(config, faults)
    docs.features = columns
    several = any(doc.several for doc in docs)
    for doc in docs:
        free = doc.answers if several else doc.answers[0] if doc.answers else ""
        doc.target = free if doc.gold is None else doc.gold
    return docs, faults, templates


def _row(cells: Mapping[str, Any], number: int) -> Row:
    return Row({name: cell(value) for name, value in cells.items()}, None, number)


def _none_fits(config: Mapping[str, Any], faults: Sequence[InputError]) -> InputError:
    found = f"none that fits, the first is {faults[0]}"
    return InputError(str(config["task"]), "rows", found=found, needed="at least one")


def _kept(fault: InputError, *, skip: bool) -> InputError:
    if not skip:
        raise fault
    return fault


def _asked(config: Mapping[str, Any], row: Row, templates: Templates, *, labelled: bool) -> _Asked:
    if row.fault is not None:
        raise row.fault
    doc = Doc(row, row.file, row.number, line=row.line, typed=row.typed)
    doc.description = templates.text("description", row)
    doc.text = templates.text("doc_to_text", row)
    doc.prefix = None if config.get("gen_prefix") is None else templates.text("gen_prefix", row)
    doc.choices, doc.answers, doc.gold, doc.several = [], [], None, False
    target = None
    if config.get("doc_to_choice") is not None:
        doc.choices = templates.choices(row)
        target = templates.target(row) if labelled else None
    elif labelled:
        found = templates.answers(row)
        doc.several = isinstance(found, list)
        doc.answers = found if isinstance(found, list) else [found]
    return _Asked(doc, target)


def _golds(
    config: Mapping[str, Any], made: Sequence[_Asked], *, labelled: bool
) -> Sequence[int | InputError | None]:
    if not labelled or config.get("doc_to_choice") is None:
        return [None] * len(made)
    targets = [each.target for each in made if each.target is not None]
    choices = [each.doc.choices for each in made]
    return golds([each.doc for each in made], targets, choices, str(config["task"]))
