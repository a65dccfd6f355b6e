"""One Jinja template over a row: what it writes is what the row's file says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

import jinja2
from jinja2 import meta, nodes

from adamergex.tasks.row import Row, number, text_of
from adamergex.tasks.sandbox import Sandbox, bounded

__all__ = ["Template"]

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_CALCULATING = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)


class _Environment(Sandbox):
    """Jinja in which what is written out is what the file says."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As Jinja has it; an index may be a text, as all that is in a csv file is."""
        found = super().getitem(obj, argument)
        if not isinstance(found, jinja2.Undefined) or not isinstance(argument, str):
            return found
        return super().getitem(obj, int(argument)) if _WHOLE.fullmatch(argument) else found


def _written(value: Any) -> Any:
    return value if isinstance(value, jinja2.Undefined) else text_of(value)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    from lm_eval import utils

    made = _Environment(
        loader=jinja2.BaseLoader(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        finalize=_written,
    )  # fmt: skip
    made.filters.update(utils.env.filters)
    made.filters["tojson"] = _json
    return made


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as files have it; that of Jinja is for web pages: with escapes for what is not ASCII."""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # which says what is undefined
    return json.dumps(value, ensure_ascii=False, indent=indent)


class Template:
    """One template, compiled when it is first used."""

    def __init__(self, source: str) -> None:
        self._source = source

    def text(self, row: Row) -> str:
        """What it writes for a row."""
        return self._compiled.render(self._cells(row))

    def value(self, row: Row) -> Any:
        """What its expression gives, where it is one and nothing else; else what it writes."""
        if self._computing is None:
            return self.text(row)
        with bounded():
            context = self._computing.new_context(dict(self._cells(row)))
            for _ in self._computing.root_render_func(context):
                pass
            found = context.vars["result"]
        if isinstance(found, jinja2.Undefined):
            str(found)  # which says what is undefined
        return found

    @cached_property
    def names(self) -> list[str]:
        """The columns that it may use."""
        with bounded():
            return sorted(meta.find_undeclared_variables(self._parsed))

    @cached_property
    def column(self) -> str:
        """The column that it is and nothing else; empty if it is more."""
        return self._expression.name if isinstance(self._expression, nodes.Name) else ""

    def _cells(self, row: Row) -> Mapping[str, Any]:
        """The row; of csv, where all is text, what the template calculates with, asks or compares.

        It is written out as it was: `2.50`, also where it is a number.
        """
        if row.typed or not self._uses:
            return row
        made = dict(row)
        for name, as_used in self._uses.items():
            if isinstance(made.get(name), str):
                made[name] = as_used(made[name])
        return made

    @cached_property
    def _parsed(self) -> nodes.Template:
        with bounded():
            return _environment().parse(self._source)

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return _environment().from_string(self._source)

    @cached_property
    def _expression(self) -> nodes.Expr | None:
        body = self._parsed.body
        if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
            return None
        only = body[0].nodes[0]
        return None if isinstance(only, nodes.TemplateData) else only

    @cached_property
    def _computing(self) -> jinja2.Template | None:
        """A template that writes nothing and has the value of the expression as `result`."""
        if self._expression is None:
            return None
        kept = nodes.Assign(nodes.Name("result", "store"), self._expression, lineno=1)
        return _environment().from_string(nodes.Template([kept], lineno=1))

    @cached_property
    def _uses(self) -> dict[str, Callable[[str], Any]]:
        """Names that are used otherwise than as text, and what a text is there."""
        tree = self._parsed
        asked = [each.test for each in tree.find_all((nodes.If, nodes.CondExpr))]
        asked += [each.node for each in tree.find_all(nodes.Not)]
        asked += [side for e in tree.find_all((nodes.And, nodes.Or)) for side in (e.left, e.right)]
        found: dict[str, Callable[[str], Any]] = {
            name.name: _Answer for name in asked if isinstance(name, nodes.Name)
        }
        for each in tree.find_all((*_CALCULATING, nodes.Compare, nodes.Test)):
            as_used = _use(each)
            if as_used is not None:
                found |= {name.name: as_used for name in each.find_all(nodes.Name)}
        return found


def _use(node: nodes.Node) -> Callable[[str], Any] | None:
    """What a text is in a calculation, a comparison or a test; None where it is text there, too."""
    if isinstance(node, nodes.Test):
        return _TESTS.get(node.name)
    kinds = {type(constant.value) for constant in node.find_all(nodes.Const)}
    if bool in kinds:
        return _boolean
    if str in kinds or (isinstance(node, nodes.Add) and not kinds):  # which joins texts
        return None
    return _number if isinstance(node, _CALCULATING) or kinds & {int, float} else None


class _Answer(str):
    """A text that is asked whether it is true: not if it is `false`, or 0."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return bool(_number(_boolean(str(self))))


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def _number(value: Any) -> Any:
    return number(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


_TESTS = {
    "true": _boolean, "false": _boolean, "odd": _number, "even": _number, "divisibleby": _number,
}  # fmt: skip
"""Tests of Jinja's that no text passes."""
