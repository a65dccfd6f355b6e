"""Which columns the prompts of a task are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamergex.errors import InputError

__all__ = ["columns_of"]

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
