"""Which columns the prompts of a task are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adamergex.errors import InputError

__all__ = ["check_fields", "check_lines", "columns_of"]

_ASKING = ("doc_to_text", "doc_to_choice", "gen_prefix", "description")


def columns_of(config: Mapping[str, Any]) -> set[str]:
    """The columns without which a question cannot be put, and its choices cannot be named.

    Not those that a template asks for itself (`{% if x is defined %}`).

    Args:
        config: The task in one language, see Task.in_language.

    Raises:
        InputError: A template that is none.
    """
    from jinja2 import Environment, TemplateError, nodes

    found: set[str] = set()
    for key in _ASKING:
        template = config.get(key)
        if not isinstance(template, str):
            continue
        if "{{" not in template and "{%" not in template:
            # lm-evaluation-harness takes it for a column where there is one of that name.
            found |= {template} if template.isidentifier() and key != "description" else set()
            continue
        try:
            parsed = Environment().parse(template)
        except TemplateError as error:
            raise InputError(config["task"], key, found=str(error), needed="a template") from None
        names = list(parsed.find_all(nodes.Name))
        asked = {
            test.node.name
            for test in parsed.find_all(nodes.Test)
            if test.name in ("defined", "undefined") and isinstance(test.node, nodes.Name)
        }
        made = {name.name for name in names if name.ctx != "load"}
        found |= {name.name for name in names if name.ctx == "load"} - asked - made
    return found


def check_lines(config: Mapping[str, Any], field: str) -> None:
    """Raises InputError where lines of text, as one column, are not all that is asked about."""
    columns = columns_of(config)
    if len(columns) > 1:
        needed = f"items: rows with {', '.join(sorted(columns))}, which {config['task']} asks for"
        raise InputError("reference", "text", found=f"lines of text, as {field}", needed=needed)
    check_fields(config, [field])


def check_fields(config: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raises InputError for a field that is not asked about."""
    columns = columns_of(config)
    for field in fields:
        if field not in columns:
            needed = f"{' or '.join(sorted(columns))}, which {config['task']} asks for"
            raise InputError("reference", "field", found=field, needed=needed)
