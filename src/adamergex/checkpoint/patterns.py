"""Patterns of module names in an adapter's config: regular expressions from outside.

Python's `re` tries every way in which a pattern can match, and a hostile one has 2^n of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from adamergex.errors import InputError

__all__ = [
    "LONGEST_NAME",
    "MOST_PATTERNS",
    "MOST_WAYS",
    "check_ways",
    "checked_pattern",
    "matches",
    "ways",
    "ways_among",
]

MOST_PATTERNS = 2**14
"""In one field: some adapters name a rank for each module, of which a large model has thousands."""

LONGEST_NAME = 512
"""Characters of a module's name, or of a pattern of one."""

MOST_WAYS = 10**9
"""To try patterns on names: up to a minute, where without a limit it could be years."""

_TOKEN = (  # compiled when it is needed, by few
    r"(?P<one>\\[dwDW.\-_^$]|\[\^?[\w.\-\\]+\]|[\w.\-])"
    r"(?P<many>[*+]\??|\{\d{1,3}(?:,\d{0,3})?\})?"
    r"|(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<either>\|)|(?P<maybe>\?)|[\^$]"
)


def checked_pattern(pattern: str) -> str:
    """`pattern`, if what it can cost is known: it repeats single characters, never a group.

    Raises:
        ValueError: It is too long, no regular expression, or has what names of modules have no use
            for.
    """
    if len(pattern) > LONGEST_NAME:
        raise ValueError(f"at most {LONGEST_NAME} characters")
    try:
        _compiled(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"a regular expression ({error})") from None
    if re.sub(_TOKEN, "", pattern):
        raise ValueError("a regular expression of names, . [] ^ $ | () and, not on groups, * + {}")
    return pattern


def matches(pattern: str, module: str) -> bool:
    """Whether a pattern is that of a module, by PEFT's rule: it ends the module's name."""
    return _compiled(pattern).match(module) is not None


def ways(pattern: str, length: int, parts: int) -> float:
    """At most how many ways there are to try a checked pattern on a module.

    Args:
        pattern: The pattern.
        length: Of the module's name, in characters.
        parts: Of the module's name, between dots: the pattern may start at each.
    """
    found = float(parts)
    choices = [1]  # of the whole, and of each group that is open
    for token in re.finditer(_TOKEN, pattern):
        if token["many"]:
            found *= length + 1
        elif token["maybe"]:
            found *= 2
        elif token["either"]:
            choices[-1] += 1
        elif token["open"]:
            choices.append(1)
        elif token["close"]:
            found *= choices.pop()
    return found * choices[0]


def ways_among(patterns: Iterable[str], names: Collection[str]) -> float:
    """At most how many ways there are to try checked patterns on all of these modules."""
    length, parts = max(map(len, names)), max(name.count(".") + 1 for name in names)
    return len(names) * sum(ways(pattern, length, parts) for pattern in patterns)


def check_ways(patterns: Iterable[str], names: Collection[str], config: Path) -> None:
    """Raises InputError where trying an adapter's patterns on its modules could take too long."""
    found = ways_among(patterns, names)
    if found > MOST_WAYS:
        needed = f"at most {MOST_WAYS:.0e} ways: fewer or simpler patterns"
        raise InputError(config, "patterns", found=f"{found:.1e} ways to match", needed=needed)


@lru_cache(maxsize=2 * MOST_PATTERNS)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Kept: `re` keeps 512 of them, and compiles all of a larger number for every module anew."""
    return re.compile(rf"(.*\.)?({pattern})$")
