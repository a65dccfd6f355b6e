"""A task as files that lm-evaluation-harness reads by itself: `lm_eval --include_path DIR`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adamergex.checkpoint import checked_name
from adamergex.tasks.metrics import AGGREGATIONS

__all__ = ["write_task"]

_SPLITS = {"train": "training_split", "dev": "validation_split", "test": "test_split"}
_OURS = ("dataset_name", "process_docs", "shorten")
"""Keys about what was done to the rows already, or that lm-evaluation-harness does not have."""
_MEASURES = "adamergex_metrics"
_MODULE = """\
from adamergex.tasks.metrics import AGGREGATIONS, measure


def __getattr__(name):
    found = AGGREGATIONS.get(name) or measure(name)
    if found is None:
        raise AttributeError(name)
    return found
"""
"""The measures by their names, squad_de among them."""


class _Function(str):
    """A name that stands in the YAML behind !function."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Function, lambda dumper, name: dumper.represent_scalar("!function", str(name))
)


def write_task(
    config: Mapping[str, Any], splits: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path
) -> Path:
    """Writes the YAML of a task in one language and, beside it, its rows as JSON lines.

    Args:
        config: The task in one language, see Task.in_language.
        splits: train, dev or test -> rows.
        folder: Where to; made if it is not there.

    Returns:
        The YAML file. The task is called what `config["task"]` says.

    Raises:
        InputError: A name that is not one of a file: it comes from the task's file.
    """
    name = checked_name(str(config["task"]), "task")
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for split, rows in splits.items():
        path = (folder / f"{name}.{split}.jsonl").absolute()
        lines = (json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8")
        places[split] = str(path)
    own = {k: v for k, v in config.items() if k not in _OURS and k not in _SPLITS.values()}
    own |= {"dataset_path": "json", "dataset_kwargs": {"data_files": places}}
    own |= {_SPLITS[split]: split for split in splits}
    if own.get("process_results") is not None:
        own["process_results"] = _function(own["process_results"], folder)
    own["metric_list"] = [_named(entry, folder) for entry in own["metric_list"]]
    path = folder / f"{name}.yaml"
    text = yaml.dump(own, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def _function(name: str, folder: Path) -> _Function:
    """A name of ours as a function of the module that is written beside the task."""
    (folder / f"{_MEASURES}.py").write_text(_MODULE, encoding="utf-8")
    return _Function(f"{_MEASURES}.{name}")


def _named(entry: Any, folder: Path) -> Any:
    named = str(entry.get("aggregation")) if isinstance(entry, Mapping) else ""
    return {**entry, "aggregation": _function(named, folder)} if named in AGGREGATIONS else entry
