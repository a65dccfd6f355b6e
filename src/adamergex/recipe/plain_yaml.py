"""YAML from outside: a recipe's or a task's, read as plain data and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from adamergex.errors import InputError
from adamergex.plain import DEEPEST, text_of

__all__ = ["parsed_yaml", "read_yaml"]

_LARGEST = 2**17
"""Bytes: PyYAML takes some 10 microseconds and a kilobyte of memory for each item of a list."""
_LONGEST_NUMBER = 64
"""Characters: YAML has integers without end, and in base 60."""
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_STR, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_PLAIN = (
    _INT, _FLOAT, _STR, _NULL, *(f"tag:yaml.org,2002:{name}" for name in ("bool", "seq", "map")),
)  # fmt: skip
_WORDS = (
    "column", "columns", "dataset_name", "description", "doc_to_choice", "doc_to_target",
    "doc_to_text", "gen_prefix", "target_delimiter", "until",
)  # fmt: skip
"""Keys of tasks and recipes under which everything is text, as it is written: YAML would make
booleans of yes and no, 8 of 010, 45000 of 12:30:00 and nothing of null."""


def read_yaml(
    path: Path, what: str, tags: Mapping[str, Callable[[str], Any]] | None = None
) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: The file.
        what: What it should be, for the message.
        tags: See parsed_yaml.

    Raises:
        InputError: No such file, one that is too large, not UTF-8 or not plain YAML.
    """
    content = parsed_yaml(text_of(path, _LARGEST, what), path, tags)
    if not isinstance(content, dict):
        raise InputError(path, found=type(content).__name__, needed="a mapping, in UTF-8")
    return content


def parsed_yaml(
    text: str, subject: object, tags: Mapping[str, Callable[[str], Any]] | None = None
) -> Any:
    """The content of a YAML text: what JSON could hold too.

    Args:
        text: The text.
        subject: Where it is from, for the message.
        tags: Tags that it may have, each with what to make of the text behind it.

    Raises:
        InputError: Not YAML; a tag, an alias, a key twice, a number that is not finite.
    """
    try:
        return yaml.load(text, _loader(tags or {}))  # a SafeLoader
    except (yaml.YAMLError, ValueError, LookupError) as error:  # the last: of !!bool maybe
        found = " ".join(str(error).split())
        raise InputError(subject, found=found, needed="plain YAML, each key once") from None


class _Loader(yaml.SafeLoader):
    """Plain data only. Aliases, with which a page of text can mean a billion items, are errors."""

    depth = 0
    # A date is its text; SafeLoader would make an object of it that JSON does not have.
    yaml_implicit_resolvers: ClassVar[Any] = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors: ClassVar[Any] = {
        tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_PLAIN, None)
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise ConstructorError(None, None, "an alias (*name)", mark)
        if self.depth > DEEPEST:
            raise ConstructorError(None, None, f"more than {DEEPEST} levels", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key that is no text", key.start_mark)
            found = self.construct_object(key)
            if found in seen:
                raise ConstructorError(None, None, f"the key {found!r} twice", node.start_mark)
            seen.add(found)
        for key, value in node.value:
            if key.value in _WORDS and value.tag != _NULL:
                _as_written(value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if node.tag in (_INT, _FLOAT) and len(node.value) > _LONGEST_NUMBER:
            found = f"a number of {len(node.value)} characters"
            raise ConstructorError(None, None, found, node.start_mark)
        return super().construct_scalar(node)

    def construct_yaml_float(self, node: Any) -> float:
        found = super().construct_yaml_float(node)
        if not math.isfinite(found):
            raise ConstructorError(None, None, f"the number {found}", node.start_mark)
        return found


def _as_written(node: Any) -> None:
    """Makes texts of numbers, booleans and nulls, at any depth."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = _STR if node.tag in _PLAIN else node.tag
        return
    for inner in node.value:
        for each in inner if isinstance(inner, tuple) else (inner,):
            _as_written(each)


_Loader.add_constructor(_FLOAT, _Loader.construct_yaml_float)


def _loader(tags: Mapping[str, Callable[[str], Any]]) -> type[_Loader]:
    if not tags:
        return _Loader

    class Tagged(_Loader):
        yaml_constructors: ClassVar[Any] = {
            **_Loader.yaml_constructors,
            **{tag: partial(_made, make) for tag, make in tags.items()},
        }

    return Tagged


def _made(make: Callable[[str], Any], loader: _Loader, node: Any) -> Any:
    return make(str(loader.construct_scalar(node)))
