"""Which keys a task's file may have, and which values: none by which Python would run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.harness_files import INERT
from adamergex.tasks.languages import filled
from adamergex.tasks.metrics import METRICS, measure
from adamergex.tasks.preparation import STEPS

__all__ = ["checked_keys"]

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


def checked_keys(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
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
