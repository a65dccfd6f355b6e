"""Which of the choices the answer to a row is: it may be written as a text or as an index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.row import SKIP, CellError, Row, text_of
from adamergex.tasks.templates import Target

__all__ = ["golds"]

_WHOLE = re.compile(r"(0|[1-9][0-9]*)(\.0+)?")
_SHOWN = 12
"""Choices in a message."""


def golds(
    rows: Sequence[Row], targets: Sequence[Target], choices: Sequence[Sequence[str]], task: str
) -> list[int | InputError]:
    """For each row the index of its answer among its choices, or what is wrong with it.

    A number is an index, and a text is a choice; a text that is no choice may be an index, too, as
    in csv all is text. An answer that could be either, `1` where the choices are 1 and 2, is what
    the other rows' answers are. Where they do not tell, a text of a file that has numbers, too,
    is a text, and of any other it is an error: a guess would move every answer by one.

    Args:
        rows: Where the answers are from.
        targets: The answer to each.
        choices: Those of each.
        task: Whose they are, for messages.
    """
    read = [_readings(t.value, own) for t, own in zip(targets, choices, strict=True)]
    sure = [r for r, target in zip(read, targets, strict=True) if not target.index]
    texts = any(text is not None and index is None for text, index in sure)
    indices = any(text is None and index is not None for text, index in sure)
    made: list[int | InputError] = []
    for row, target, own, (text, index) in zip(rows, targets, choices, read, strict=True):
        if target.index and index is not None:
            made.append(index)
        elif text is None and index is None:
            made.append(_no_choice(row, target, own, task))
        elif text is None or index is None or text == index:
            made.append(text if index is None else index)  # pyright: ignore
        elif texts != indices:
            made.append(text if texts else index)
        elif isinstance(target.value, str) and row.typed and not texts:
            made.append(text)
        else:
            made.append(_either(row, target, own, task))
    return made


def _readings(value: Any, choices: Sequence[str]) -> tuple[int | None, int | None]:
    """The choice that a value is as a text, and as an index; None where it is none."""
    try:
        written = text_of(value)
    except CellError:
        return None, None
    if isinstance(value, list | tuple | dict):
        return None, None
    text = choices.index(written) if written in choices else None
    if written.lower() in ("true", "false"):
        # JSON's true is Python's True; no index: as a number true is 1, whatever comes first.
        alike = [i for i, choice in enumerate(choices) if choice.lower() == written.lower()]
        return (alike[0] if text is None and len(alike) == 1 else text), None
    whole = _WHOLE.fullmatch(written)
    index = int(whole[1]) if whole and len(whole[1]) < 10 else None
    return text, index if index is not None and index < len(choices) else None


def _no_choice(row: Row, target: Target, choices: Sequence[str], task: str) -> InputError:
    found: object = "no text" if target.value == "" else target.value
    listed = " or ".join(choices[:_SHOWN]) + " or ..." * (len(choices) > _SHOWN)
    place = f" in {target.column}" if target.column else ""
    needed = f"a choice{place}: {listed}, or an index below {len(choices)}; {SKIP}"
    if isinstance(target.value, bool):
        found = text_of(target.value)
        template = f"{{{{ '...' if {target.column or '...'} else '...' }}}}"
        needed = f'a choice{place}: {listed}, as in doc_to_target: "{template}"'
    return row.error("answer", found=found, needed=needed, task=task)


def _either(row: Row, target: Target, choices: Sequence[str], task: str) -> InputError:
    column = target.column or "..."
    found = f"{text_of(target.value)}, which is a choice, and the index of another"
    needed = (
        f'doc_to_target: "{{{{ {column} | int }}}}" for the index, '
        f'"{{{{ {list(choices)!r}.index({column} | string) }}}}" for the choice'
    )
    return row.error("answer", found=found, needed=needed, task=task)
