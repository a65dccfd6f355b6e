"""The task files that lm-evaluation-harness comes with, found by name and read as plain data."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.recipe import read_yaml
from adamergex.tasks.harness_functions import Function, without_functions
from adamergex.tasks.languages import known_languages, spellings

__all__ = [
    "INERT",
    "PLACE",
    "PREFIX",
    "check_language",
    "harness_file",
    "harness_task",
    "some_language",
    "task_content",
]

PREFIX = "lm-eval:"
"""Before the name of one of lm-evaluation-harness's own tasks."""
PLACE = "{language}"
INERT = (
    "doc_to_decontamination_query", "fewshot_config", "fewshot_split", "group",
    "should_decontaminate",
)  # fmt: skip
"""Keys that change no prompt, answer or measure where a prompt has no solved examples in it."""
_TASK = re.compile(rb"^[\"']?task[\"']?[ \t]*:[ \t]*[\"']?([^\s\"'#\[{]+)", re.MULTILINE)
_METRICS = {"multiple_choice": ("acc", "acc_norm"), "generate_until": ("exact_match",)}
"""lm-evaluation-harness's own where a file has no metric_list."""


def harness_task(name: str, language: str) -> dict[str, Any]:
    """What lm-evaluation-harness's files say of one of its tasks, in one language.

    Args:
        name: `belebele_swh_Latn`, or `belebele_{language}`: the language as the names write it.
        language: Its code.

    Raises:
        InputError: No such task; a file that cannot be taken.
    """
    return task_content(harness_file(name, language))


def harness_file(name: str, language: str | None = None) -> Path:
    """The file of one of lm-evaluation-harness's tasks. Arguments and errors as in harness_task.

    Without a language that of any.
    """
    known = _files()
    language = some_language(name) if language is None else language
    if PLACE in name:
        tried = [name.replace(PLACE, spelled) for spelled in spellings(language)]
        found = next((each for each in tried if each in known), None)
        if found is None:
            needed = f"a task of lm-eval's: {' or '.join(tried[:3])}"
            raise InputError(f"{PREFIX}{name}", "language", found=language, needed=needed)
        return known[found]
    return known[name]


def check_language(name: str, language: str) -> None:
    """Raises InputError for a task whose name says that its data set is in another language."""
    place, own = _place(name)
    if own is not None and own not in spellings(language):
        needed = f"the one that its data set is in, data_files, or {PREFIX}{place}"
        raise InputError(f"{PREFIX}{name}", "language", found=language, needed=needed)


def some_language(name: str) -> str:
    """A language that a task is there in; any where its name has none.

    Raises:
        InputError: There is no such task in any.
    """
    codes = known_languages()
    if PLACE not in name:
        if name not in _files():
            raise InputError(f"{PREFIX}{name}", found="no such task", needed=_near(name))
        own = _place(name)[1]
        return next((code for code in codes if own in spellings(code)), codes[0])
    found = _spelled(name)
    if found:
        return next(iter(found))
    head, _, tail = name.partition(PLACE)
    others = [k[len(head) : len(k) - len(tail)] for k in _files() if _between(k, head, tail)]
    if not others:
        raise InputError(f"{PREFIX}{name}", found="no such task", needed=_near(head))
    return others[0]


def task_content(path: Path) -> dict[str, Any]:
    """What a task's file says, over what the files say that it includes.

    A file of lm-evaluation-harness's has its defaults and, for functions, what they mean: see
    harness_functions. In other files `include` may also be PREFIX and a name, and then stays.

    Raises:
        InputError: A file that is not there or not plain YAML, or that names a function that is not
            known; files that include one another.
    """
    if not _own(path):
        return _merged(path)
    content = _merged(path)
    if not isinstance(content.get("task", ""), str | None):
        raise InputError(path, "task", found="a group of tasks", needed="one of them")
    asked = {k: v for k, v in content.items() if v is not None and k not in INERT}
    content = without_functions(asked, _folder())
    kind = content.setdefault("output_type", "generate_until")
    if kind in _METRICS:
        content.setdefault("metric_list", [{"metric": name} for name in _METRICS[kind]])
    if kind == "multiple_choice":  # measured there without the metric's own function
        for entry in content["metric_list"]:
            entry.pop("hf_evaluate", None)
    options = content.get("dataset_kwargs") or {}
    options.pop("trust_remote_code", None)  # which data sets of today do not know
    kwargs = content.get("generation_kwargs") or {}
    if "max_new_tokens" in kwargs:
        kwargs.setdefault("max_gen_toks", kwargs.pop("max_new_tokens"))
    return content


def _merged(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise InputError(path, "include", found="itself", needed="other files")
    tags = {"!function": partial(Function, named_in=path)} if _own(path) else None
    content = read_yaml(path, "a task in YAML", tags)
    included = content.pop("include", None)
    if isinstance(included, str) and included.startswith(PREFIX) and not seen:
        return {**content, "include": included}
    names = included if isinstance(included, list) else [] if included is None else [included]
    found: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or not name or name.startswith(PREFIX):
            needed = f"the path of a file, or {PREFIX} and one name"
            raise InputError(path, "include", found=name, needed=needed)
        found |= _merged(path.parent / name, (*seen, path))
    return found | content


def _own(path: Path) -> bool:
    """Whether a file is one that lm-evaluation-harness comes with."""
    try:
        return path.resolve().is_relative_to(_folder())
    except InputError:
        return False


@lru_cache
def _folder() -> Path:
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        needed = "lm-eval: pip install 'adamergex[train]'"
        raise InputError("lm_eval", found="not installed", needed=needed)
    return Path(found.origin).resolve().parent / "tasks"


@lru_cache
def _files() -> Mapping[str, Path]:
    """Name of a task -> its file. Reading the name alone takes a second for all."""
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(_folder()):
        for name in sorted(names):
            path = Path(folder, name)
            match = _TASK.search(path.read_bytes()) if name.endswith(".yaml") else None
            if match:
                found.setdefault(match[1].decode("utf-8", "replace"), path)
    return found


def _near(name: str) -> str:
    known = list(_files())
    begins = [each for each in known if name and each.startswith(name)]
    near = begins[:3] or difflib.get_close_matches(name, known, n=3)
    place = [f"{name.rstrip('_')}_{PLACE}"] if _spelled(f"{name.rstrip('_')}_{PLACE}") else []
    return "one of lm-eval's: " + ", ".join((*place, *near, "..."))


def _spelled(name: str) -> dict[str, str]:
    """Language -> how it is spelled, where a task of lm-eval's has it in the place."""
    known = _files()
    return {
        code: spelled
        for code in known_languages()
        for spelled in reversed(spellings(code))
        if name.replace(PLACE, spelled) in known
    }


@lru_cache
def _place(name: str) -> tuple[str, str | None]:
    """A task's name with a place for its language, and how it spells that; None where it has none.

    A part of a name is a language if the same name is there with another language in that part.
    """
    for code in known_languages():
        for spelled in spellings(code):
            for match in re.finditer(rf"(?<![^_-]){re.escape(spelled)}(?![^_-])", name):
                place = name[: match.start()] + PLACE + name[match.end() :]
                if len(_spelled(place)) > 1:
                    return place, spelled
    return name, None


def _between(name: str, head: str, tail: str) -> bool:
    return len(name) > len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
