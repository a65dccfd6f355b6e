"""What a task's templates make of a row: the prompt, the choices, the answer.

As lm-evaluation-harness has it, the name of a column stands for what is in it and all else is a
Jinja template, with these differences: a text is never evaluated, so that `["Lagos", "Accra"]` is a
text as any other; numbers are as the file writes them and booleans as JSON does; what is null,
missing or no text is an error; a name that is no column is not taken for a text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from adamergex.errors import InputError
from adamergex.tasks.rendering import Template
from adamergex.tasks.row import SKIP, CellError, Row, Unreadable, text_of
from adamergex.tasks.sandbox import bounded

__all__ = ["Target", "Templates"]

_WHOLE = re.compile(r"0|[1-9][0-9]*")
_MISSING = re.compile(r"'(?P<name>[^']*)' is undefined")
_SHOWN = 20
"""Columns in a message."""


@dataclass(frozen=True)
class Target:
    """The answer to a row, before it is known which choice that is.

    Attributes:
        value: What its column holds, or a text, or a list of them.
        index: Whether the template computed a number, which can be nothing but an index.
        column: The column that it is from; empty where it is from a template.
    """

    value: Any
    index: bool = False
    column: str = ""


class Templates:
    """The templates of a task over rows with certain columns.

    Args:
        config: The task in one language.
        columns: Those that any row has.
        file: Where the rows are from, for messages.
        labelled: Whether the rows have the answer.

    Raises:
        InputError: A name that is no column where a column or a template should be.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        columns: Collection[str],
        file: Path | str | None = None,
        *,
        labelled: bool = True,
    ) -> None:
        self.name = str(config["task"])
        self._file = file or self.name
        self._config = config
        self._columns = columns
        self._templates: dict[str, Template] = {}
        asked = ("doc_to_text", "doc_to_choice", *(("doc_to_target",) if labelled else ()))
        for key in asked:
            self._check_name(key)
        self._turns = _turns_read(config, columns)

    def text(self, key: str, row: Row) -> str:
        """What `doc_to_text`, `gen_prefix` or `description` says of a row; empty without one."""
        value = self._config.get(key)
        if value is None:
            return ""
        if key == "doc_to_text":
            self._check_turns(row)
        return self._as_text(self._value(key, value, row)[0], key, row)

    def choices(self, row: Row) -> list[str]:
        """The choices of a row."""
        given = self._config["doc_to_choice"]
        if isinstance(given, dict):
            given = list(given.values())
        if not isinstance(given, list):
            given = self._listed(self._value("doc_to_choice", given, row, native=True)[0], row)
        made = [self._as_text(choice, "doc_to_choice", row) for choice in given]
        if not made or not all(made):
            found = "an empty choice" if made else "no choices"
            raise row.error("doc_to_choice", found=found, needed=f"texts, {SKIP}", task=self.name)
        return made

    def target(self, row: Row) -> Target:
        """The answer to a row: of a choice, or in free text."""
        given = self._config["doc_to_target"]
        chosen = "doc_to_choice" in self._config
        if chosen and _WHOLE.fullmatch(str(given)):
            return Target(int(given), index=True)
        if isinstance(given, list):
            return Target([self._as_text(each, "doc_to_target", row) for each in given])
        found, column = self._value("doc_to_target", given, row, native=chosen)
        if column:
            return Target(found, column=column)
        whole = isinstance(found, int) and not isinstance(found, bool)
        return Target(found, index=whole)

    def answers(self, row: Row) -> str | list[str]:
        """The answer in free text; several only of a column that holds a list."""
        target = self.target(row)
        found = target.value
        if isinstance(found, dict):
            needed = f"a text or a list of texts, {SKIP}"
            raise row.error(target.column, found="a mapping", needed=needed, task=self.name)
        texts = found if isinstance(found, list) else [found]
        made = [self._as_text(text, target.column or "doc_to_target", row) for text in texts]
        if self._config["doc_to_target"] != "" and not (made and made[0].strip()):
            field = target.column or "doc_to_target"
            found, needed = "no text", f"an answer, {SKIP}"
            raise row.error(field, found=found, needed=needed, task=self.name)
        return made if isinstance(found, list) else made[0]

    def misfit(self, row: Row, error: Exception) -> InputError:
        """What a template, or lm-evaluation-harness, raised about a row, as a line."""
        if isinstance(error, InputError):
            return error
        known = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
        plain = isinstance(error, (*known, jinja2.TemplateError))
        found = str(error) if plain else f"{type(error).__name__}: {error}"
        missing = _MISSING.search(found) if isinstance(error, jinja2.UndefinedError) else None
        if missing and missing["name"] in self._columns:
            needed = f"a value, {SKIP}"
            return row.error(missing["name"], found="nothing", needed=needed, task=self.name)
        shown = list(map(str, self._columns))
        needed = "templates over " + ", ".join(shown[:_SHOWN]) + ", ..." * (len(shown) > _SHOWN)
        return row.error(found=found, needed=needed, task=self.name)

    def _value(self, key: str, given: Any, row: Row, *, native: bool = False) -> tuple[Any, str]:
        """What a column or a template says of a row, and the column; a list only if `native`."""
        if not isinstance(given, str):
            return given, ""
        if given in self._columns:
            return self._cell(given, row), given
        template = self._templates.setdefault(key, Template(given))
        try:
            column = template.column
            if native and column in self._columns:
                return self._cell(column, row), column
            return (template.value(row) if native else template.text(row)), ""
        except CellError as error:
            raise self._no_text(error, key, row, template.names) from None
        except Exception as error:  # what a template raises is whatever it likes
            raise self.misfit(row, error) from None

    def _cell(self, column: str, row: Row) -> Any:
        if row.get(column) is None:
            needed = f"a value, {SKIP}"
            found = "null" if column in row else "nothing"
            raise row.error(column, found=found, needed=needed, task=self.name)
        return row[column]

    def _as_text(self, value: Any, field: str, row: Row) -> str:
        try:
            return str(value) if isinstance(value, jinja2.Undefined) else text_of(value)
        except jinja2.UndefinedError as error:
            raise self.misfit(row, error) from None
        except CellError as error:
            raise self._no_text(error, field, row, [field, *self._named(field)]) from None

    def _named(self, key: str) -> Collection[str]:
        given = self._config.get(key)
        if isinstance(given, str) and given in self._columns:
            return [given]
        return self._templates[key].names if key in self._templates else []

    def _no_text(
        self, error: CellError, field: str, row: Row, names: Collection[str]
    ) -> InputError:
        """A cell that is no text, by its column where one of those named is to blame."""
        column = next((name for name in names if name in row and not _whole(row[name])), field)
        return row.error(column, found=str(error), needed=f"text, {SKIP}", task=self.name)

    def _listed(self, value: Any, row: Row) -> list[Any]:
        """The choices that a column or a template gives."""
        if isinstance(value, str):
            text = value
            try:
                with bounded():
                    value = ast.literal_eval(text.strip())
            except (SyntaxError, ValueError):
                needed = "a list in doc_to_choice, as ['yes', 'no']"
                raise row.error(found=text, needed=needed, task=self.name) from None
            except Exception as error:  # MemoryError, RecursionError
                raise self.misfit(row, error) from None
        if isinstance(value, list | tuple):
            return list(value)
        found = type(value).__name__
        raise row.error("doc_to_choice", found=found, needed="a list of choices", task=self.name)

    def _check_turns(self, row: Row) -> None:
        """Turns of a chat that no template reads would be lost without a word."""
        for column, most in self._turns.items():
            turns = row.get(column)
            if isinstance(turns, list) and len(turns) > most and _is_chat(turns):
                needed = f"{most}, as the templates read, or templates that read all, {SKIP}"
                raise row.error(column, found=f"{len(turns)} turns", needed=needed, task=self.name)

    def _check_name(self, key: str) -> None:
        given, choices = self._config.get(key), self._config.get("doc_to_choice")
        if not isinstance(given, str) or not given.isidentifier() or given in self._columns:
            return
        if key == "doc_to_target" and isinstance(choices, list) and given in choices:
            return
        shown = ", ".join(map(str, list(self._columns)[:_SHOWN])) or "none"
        needed = f"a column ({shown}) or a template"
        raise InputError(self._file, key, found=given, needed=needed)


def _turns_read(config: Mapping[str, Any], columns: Collection[str]) -> dict[str, int]:
    """How many entries of a column are read, where templates read it by numbers alone."""
    texts = [config.get(key) for key in ("doc_to_text", "doc_to_target", "doc_to_choice")]
    whole = "\n".join(text for text in texts if isinstance(text, str) and "[" in text)
    found: dict[str, int] = {}
    for column in columns if whole else ():
        name = re.escape(str(column))
        numbers = re.findall(rf"\b{name}\s*\[\s*(\d+)\s*\]", whole)
        if numbers and len(numbers) == len(re.findall(rf"\b{name}\b", whole)):
            found[column] = max(map(int, numbers)) + 1
    return found


def _is_chat(entries: list[Any]) -> bool:
    return all(isinstance(entry, dict) and "role" in entry for entry in entries)


def _whole(value: Any) -> bool:
    """Whether a cell is text, and all that is in it is."""
    if isinstance(value, list | tuple):
        return all(map(_whole, value))
    if isinstance(value, dict):
        return all(map(_whole, value.values()))
    try:
        return not isinstance(value, Unreadable) and text_of(value) is not None
    except CellError:
        return False
