"""A task: lm-evaluation-harness YAML with a place for the language.

`{language}` anywhere in the file stands for a language code. Four keys of `metadata` are read here
and by nobody else; all other keys are lm-evaluation-harness's own:

- `codes`: how the data set writes a language, `iso` (sw) or `flores` (swh_Latn);
- `languages`: code -> the keys that are different in that language; without it any code will do;
- `training`: code -> the keys that are different for training rows: where a task is learnt from
  another data set than it is measured on;
- `shorten`: the field of a row whose end is left out where a prompt is longer than the model takes.
  Without it a prompt loses its beginning.

`include` may be `lm-eval:` and the name of a task that lm-evaluation-harness comes with, with
`{language}` in it where there is one for each language; `lm-eval:NAME` is that task as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from adamergex.checkpoint import checked_name
from adamergex.errors import InputError
from adamergex.tasks import emoji
from adamergex.tasks.harness_files import (
    INERT,
    PLACE,
    PREFIX,
    check_language,
    harness_file,
    harness_task,
    some_language,
    task_content,
)
from adamergex.tasks.languages import code_for
from adamergex.tasks.metrics import METRICS, measure
from adamergex.tasks.preparation import STEPS
from adamergex.tasks.sources import Source, hub_source

__all__ = ["BUILTIN_FOLDER", "Task", "builtin_tasks", "filled", "find_task", "task_source"]

BUILTIN_FOLDER = Path(__file__).parent / "builtin"
_PLACE = re.compile(r"(?<!\{)\{language\}(?!\})")
_OUTPUTS = ("multiple_choice", "generate_until")
_GENERATION = ("until", "max_gen_toks")
_GREEDY = {"do_sample": False, "temperature": 0.0, "num_beams": 1}
"""Keys of generation_kwargs: of which the task says the value, and with the one that is allowed."""
_OF_ITEMS = ("acc", "acc_norm", "acc_bytes", "exact_match")
"""lm-evaluation-harness's metrics that are means over items."""
_ONLY = {"num_fewshot": 0, "repeats": 1, "unsafe_code": False}
"""Keys that may have this value alone, or null."""
_LISTED = (list, NoneType)
_MAPPED = (dict, NoneType)
_TEXT = (str, NoneType)
_TEMPLATE = (str, int, list)
_KEYS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    # Those of lm-evaluation-harness that change a prompt, an answer or a measure. What would run
    # Python, or ask for several prompts of one item, is not among them.
    {
        "task": (str,), "task_alias": _TEXT, "tag": (*_TEXT, list), "output_type": (str,),
        "dataset_path": _TEXT, "dataset_name": _TEXT, "dataset_kwargs": _MAPPED,
        "training_split": _TEXT, "validation_split": _TEXT, "test_split": _TEXT,
        "description": _TEXT, "doc_to_text": _TEMPLATE, "doc_to_target": _TEMPLATE,
        "doc_to_choice": (str, list, dict), "target_delimiter": _TEXT, "gen_prefix": _TEXT,
        "fewshot_delimiter": _TEXT, "process_docs": _MAPPED,
        "process_results": _TEXT, "metric_list": (list,), "generation_kwargs": _MAPPED,
        "filter_list": _LISTED, "metadata": _MAPPED,
    }
)  # fmt: skip
"""Each with the types that it may have."""


@dataclass(frozen=True)
class Task:
    """A task in all its languages.

    Attributes:
        name: What recipes and results call it: its file's name.
        path: Its file.
        config: The file's keys, without those of `metadata` that are read here; where another is
            included, with its keys in one language.
        codes: How its data set writes a language.
        languages: Code -> keys of its own; None where any code will do.
        training: Code -> keys for training rows.
        own: Those that it has itself.
        include: The task of lm-evaluation-harness's that these are added to.
        shorten: The field that gives way where a prompt is too long.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    own: Mapping[str, Any]
    include: str | None = None
    codes: str | None = None
    languages: Mapping[str, Mapping[str, Any] | None] | None = None
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    shorten: str | None = None

    def in_language(self, language: str, *, training: bool = False) -> dict[str, Any]:
        """The lm-evaluation-harness config in one language.

        Args:
            language: Its code.
            training: Whether for training rows.

        Raises:
            InputError: The task is not there in that language.
        """
        code = code_for(language, self.codes)
        if self.languages is not None and code not in self.languages:
            needed = " or ".join(self.languages)
            raise InputError(self.name, "language", found=language, needed=needed)
        own = (self.languages or {}).get(code) or {}
        learnt = self.training.get(code, {}) if training else {}
        changed = filled({**self.own, **own, **learnt}, code)
        beneath = {} if self.include is None else harness_task(self.include, language)
        config = _checked({**beneath, **changed}, self.path)
        return config if self.shorten is None else {**config, "shorten": self.shorten}

    def check_rows(self, language: str) -> None:
        """Raises InputError where the rows of its data set are not in that language.

        Of one of lm-evaluation-harness's by its name: other files' names say nothing.
        """
        if self.include is not None and "dataset_name" not in self.own:
            check_language(self.include, language)

    def same_choices(self, one: str, other: str) -> bool:
        """Whether its choices are the same texts in two languages, whatever is asked.

        Where it is answered in free text there are none, which are the same.
        """
        first, second = (self.in_language(x).get("doc_to_choice") for x in (one, other))
        return first == second and not isinstance(first, str)

    @property
    def answers(self) -> str:
        """The language of free answers: `source` or, where it is the item's own, `target`."""
        return str((self.config.get("metadata") or {}).get("answers", "source"))

    @property
    def free_text(self) -> bool:
        """Whether it is answered in free text, not by a choice."""
        return self.config["output_type"] == "generate_until"


def filled(value: Any, language: str) -> Any:
    """`value` with `{language}` replaced by the code, at any depth; `{{language}}` stays."""
    if isinstance(value, str):
        return _PLACE.sub(language, value)
    if isinstance(value, Mapping):
        return {key: filled(inner, language) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, language) for inner in value]
    return value


def find_task(name: str, folder: Path) -> Task:
    """A built-in task by its name, one of lm-evaluation-harness's, or a user's by its .yaml file.

    Args:
        name: `sib200`, `lm-eval:belebele_{language}`, or `my-task.yaml` relative to `folder`.
        folder: Where the recipe is.

    Raises:
        InputError: No such task, or a file that is not a task.
    """
    if name.startswith(PREFIX):
        base = name.removeprefix(PREFIX)
        said = "lm-eval-" + base.replace(f"_{PLACE}", "").replace(PLACE, "")
        path = harness_file(base)
        return _task({"include": name}, path, checked_name(said, name))
    if name.endswith((".yaml", ".yml")):
        path = folder / name
        return _task(task_content(path), path, checked_name(path.stem, path))
    if name not in builtin_tasks():
        needed = " or ".join(builtin_tasks()) + f", {PREFIX}NAME, or the path of a .yaml file"
        raise InputError("task", found=name, needed=needed)
    path = BUILTIN_FOLDER / f"{name}.yaml"
    return _task(task_content(path), path, name)


def task_source(config: Mapping[str, Any], split: str) -> Source:
    """The source of one split of a task's own data set.

    Args:
        config: The task in one language.
        split: What that data set calls the split.

    Raises:
        InputError: The task names no data set.
    """
    path = config.get("dataset_path")
    if path is None:
        raise InputError(config["task"], "dataset_path", found="none", needed="one, or data_files")
    if path == "builtin:emoji":
        return emoji.source(str(config["dataset_name"]), split)
    options = config.get("dataset_kwargs") or {}
    if "data_files" in options or "data_dir" in options:
        needed = "data_files in the recipe, or --data-files: a step is known by what its files hold"
        raise InputError(config["task"], "dataset_kwargs", found=options, needed=needed)
    for option in sorted(map(str, options.keys() - {"revision"})):
        # trust_remote_code would run Python, cache_dir would write elsewhere.
        needed = "revision, and no other option of load_dataset"
        raise InputError(config["task"], f"dataset_kwargs.{option}", found="one", needed=needed)
    name = config.get("dataset_name")
    return hub_source(path, name, split, options)


def builtin_tasks() -> list[str]:
    """The names of the built-in tasks."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.yaml"))


def _task(content: Mapping[str, Any], path: Path, name: str) -> Task:
    own = dict(content)
    include = own.pop("include", None)
    metadata = own.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise InputError(path, "metadata", found=metadata, needed="a mapping")
    metadata = dict(metadata)
    codes = metadata.pop("codes", None)
    languages = metadata.pop("languages", None)
    training = metadata.pop("training", None) or {}
    shorten = metadata.pop("shorten", None)
    if not isinstance(shorten, _TEXT):
        raise InputError(path, "metadata.shorten", found=shorten, needed="the name of a field")
    if metadata or "metadata" in own:
        own["metadata"] = metadata
    beneath: Mapping[str, Any] = {}
    if include is not None:
        include = include.removeprefix(PREFIX)
        beneath = harness_task(include, some_language(include))
    for key, table in (("languages", languages or {}), ("training", training)):
        if not isinstance(table, dict):
            raise InputError(path, f"metadata.{key}", found=table, needed="codes and their keys")
        for code, differing in table.items():
            if not isinstance(code, str) or not isinstance(differing, dict | None):
                needed = 'a code ("no" in quotes) and its keys'
                raise InputError(path, f"metadata.{key}", found=code, needed=needed)
            _checked({**beneath, **own, **(differing or {})}, path)
    code_for("", codes)
    config = _checked({**beneath, **own}, path)
    return Task(name, path, config, own, include, codes, languages, training, shorten)


def _checked(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A task's keys without those that change nothing.

    Raises:
        InputError: A key that there is not, a value that cannot be.
    """
    config = {key: value for key, value in content.items() if key not in INERT}
    for key, only in _ONLY.items():
        found = config.pop(key, None)
        if found is not None and found != only:
            needed = f"{only}, in a file with `include` of this one"
            raise InputError(path, key, found=found, needed=needed)
    for key, value in config.items():
        if key not in _KEYS:
            raise InputError(path, key, found="a key", needed=" or ".join(sorted(_KEYS)))
        if not isinstance(value, _KEYS[key]):
            needed = " or ".join(kind.__name__ for kind in _KEYS[key] if kind is not NoneType)
            raise InputError(path, key, found=value, needed=needed)
    for key in ("task", "output_type", "doc_to_text", "doc_to_target", "metric_list"):
        if key not in config:
            raise InputError(path, key, found="nothing", needed="a value")
    if config["output_type"] not in _OUTPUTS:
        raise InputError(
            path, "output_type", found=config["output_type"], needed=" or ".join(_OUTPUTS)
        )
    if (config["output_type"] == "multiple_choice") != ("doc_to_choice" in config):
        raise InputError(
            path, "doc_to_choice", found=config.get("doc_to_choice"),
            needed="choices for multiple_choice, and only there",
        )  # fmt: skip
    for key in (config.get("process_docs") or {}).keys() - STEPS:
        raise InputError(path, f"process_docs.{key}", found="a key", needed=" or ".join(STEPS))
    _check_generation(config.get("generation_kwargs") or {}, path)
    _check_measures(config, path)
    return config


def _check_generation(options: Mapping[str, Any], path: Path) -> None:
    for key, value in options.items():
        inert = key == "temperature" and options.get("do_sample") is False
        if key not in _GENERATION and not inert and (key not in _GREEDY or _GREEDY[key] != value):
            needed = "until, max_gen_toks, do_sample: false: answers are written greedily"
            raise InputError(path, f"generation_kwargs.{key}", found=value, needed=needed)


def _check_measures(config: Mapping[str, Any], path: Path) -> None:
    measured = config.get("process_results")
    if measured is not None:
        if measure(filled(measured, "en")) is None:
            needed = " or ".join(METRICS) + ", each also with _ and a language"
            raise InputError(path, "process_results", found=measured, needed=needed)
        return
    names = [entry.get("metric") for entry in config["metric_list"] if isinstance(entry, Mapping)]
    if not set(_OF_ITEMS).intersection(map(str, names)):
        found, needed = config["metric_list"], " or ".join(_OF_ITEMS) + ": a mean over items"
        raise InputError(path, "metric_list", found=found, needed=needed)
