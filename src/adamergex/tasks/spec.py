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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamergex.checkpoint import checked_name
from adamergex.errors import InputError
from adamergex.tasks import emoji
from adamergex.tasks.harness_files import (
    PLACE,
    PREFIX,
    check_language,
    harness_file,
    harness_task,
    some_language,
    task_content,
)
from adamergex.tasks.keys import checked_keys
from adamergex.tasks.languages import code_for, filled
from adamergex.tasks.sources import Source, hub_source

__all__ = ["BUILTIN_FOLDER", "Task", "builtin_tasks", "find_task", "task_source"]

BUILTIN_FOLDER = Path(__file__).parent / "builtin"


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
        config = checked_keys({**beneath, **changed}, self.path)
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
    if not isinstance(shorten, str | None):
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
            checked_keys({**beneath, **own, **(differing or {})}, path)
    code_for("", codes)
    config = checked_keys({**beneath, **own}, path)
    return Task(name, path, config, own, include, codes, languages, training, shorten)
