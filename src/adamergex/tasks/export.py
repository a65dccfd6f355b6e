"""A task as files that lm-evaluation-harness reads by itself: `lm_eval --include_path DIR`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from adamergex.checkpoint import checked_name
from adamergex.errors import InputError
from adamergex.tasks.configured import harness_reading
from adamergex.tasks.docs import Doc, docs_of
from adamergex.tasks.metrics import AGGREGATIONS
from adamergex.tasks.plain_rows import asked_columns, plain_rows, write_asked

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
_ROWS = "adamergex_rows"
_LOADER = """\
from pathlib import Path

import datasets


def loaded(data_files, **_):
    places = {split: str(Path(__file__).parent / name) for split, name in data_files.items()}
    kind = "parquet" if any(name.endswith(".parquet") for name in places.values()) else "json"
    return datasets.load_dataset(kind, data_files=places)
"""
"""The rows from beside the task: a path in the YAML would start where lm_eval is started."""


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

    The folder can be moved: the task finds its rows beside itself.

    What is written is read again as lm-evaluation-harness will read it. Where it would ask or
    answer otherwise, since it takes texts for dates, lists, numbers or the like, the prompts, the
    choices and the answers are written out, in parquet.

    Args:
        config: The task in one language, see Task.in_language.
        splits: train, dev or test -> rows.
        folder: Where to; made if it is not there.

    Returns:
        The YAML file. The task is called what `config["task"]` says.

    Raises:
        InputError: A name that is not one of a file: it comes from the task's file; rows that the
            task does not fit.
    """
    name = checked_name(str(config["task"]), "task")
    docs = {split: _docs(config, rows) for split, rows in splits.items()}
    folder.mkdir(parents=True, exist_ok=True)
    own = {k: v for k, v in config.items() if k not in _OURS and k not in _SPLITS.values()}
    own |= {_SPLITS[split]: split for split in docs}
    places = {split: folder / f"{name}.{split}.jsonl" for split in docs}
    for split, place in places.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in plain_rows(docs[split]))
        place.write_text("".join(lines), encoding="utf-8")
    if docs and not _asked_alike(own, _loaded("json", places), docs):
        places = {split: place.with_suffix(".parquet") for split, place in places.items()}
        write_asked(docs, places)
        own |= asked_columns(own)
        if not _asked_alike(own, _loaded("parquet", places), docs):
            needed = "rows that lm-evaluation-harness can be given"
            raise InputError(name, found="rows that it would read otherwise", needed=needed)
    kind = "parquet" if any(place.suffix == ".parquet" for place in places.values()) else "json"
    data_files = {split: place.name for split, place in places.items()}
    own |= {"dataset_path": kind, "dataset_kwargs": {"data_files": data_files}}
    own["custom_dataset"] = _function("loaded", folder, _ROWS, _LOADER)
    if own.get("process_results") is not None:
        own["process_results"] = _function(own["process_results"], folder)
    own["metric_list"] = [_named(entry, folder) for entry in own["metric_list"]]
    path = folder / f"{name}.yaml"
    text = yaml.dump(own, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def _docs(config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Sequence[Doc]:
    made = [row for row in rows if isinstance(row, Doc)]
    return made if len(made) == len(rows) else docs_of(config, rows, labelled=True, skip=False)[0]


def _loaded(kind: str, places: Mapping[str, Path]) -> Any:
    """The files as lm-evaluation-harness will load them; None if it cannot."""
    import datasets

    files = {split: str(place) for split, place in places.items()}
    try:
        with _quiet(), tempfile.TemporaryDirectory() as cache:
            return datasets.load_dataset(
                kind, data_files=files, cache_dir=cache, keep_in_memory=True
            )
    except Exception:  # what Arrow raises is whatever it likes
        return None


@contextmanager
def _quiet() -> Generator[None]:
    """Without a word of datasets' on its progress or on files that it cannot load."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from datasets.utils import logging

    shown, level = not are_progress_bars_disabled(), logging.get_verbosity()
    disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            enable_progress_bars()


def _asked_alike(config: Mapping[str, Any], data: Any, docs: Mapping[str, Sequence[Doc]]) -> bool:
    """Whether lm-evaluation-harness asks the same, and takes the same for an answer.

    Not if it has no data.
    """
    if data is None:
        return False
    try:
        theirs = harness_reading(config, data)
    except Exception:  # what a template raises is whatever it likes
        return False
    return all(
        (doc.description, doc.text, doc.prefix, doc.choices) == (*read[:3], list(read[3]))
        and _answered_alike(read[4], doc)
        for split, rows in docs.items()
        for doc, read in zip(rows, theirs[split], strict=True)
    )


def _answered_alike(answer: Any, doc: Doc) -> bool:
    if doc.gold is None:
        wanted = doc.target
        if isinstance(answer, list):
            return list(map(str, answer)) == (wanted if isinstance(wanted, list) else [wanted])
        return str(answer) == wanted
    if isinstance(answer, str):
        return answer in doc.choices and doc.choices.index(answer) == doc.gold
    return isinstance(answer, int) and answer == doc.gold


def _function(name: str, folder: Path, module: str = _MEASURES, text: str = _MODULE) -> _Function:
    """A name of ours as a function of a module that is written beside the task."""
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return _Function(f"{module}.{name}")


def _named(entry: Any, folder: Path) -> Any:
    named = str(entry.get("aggregation")) if isinstance(entry, Mapping) else ""
    return {**entry, "aggregation": _function(named, folder)} if named in AGGREGATIONS else entry
