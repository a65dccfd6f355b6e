"""lm-evaluation-harness's own task objects: over our rows, and over those that it reads itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.docs import Doc, Docs
from adamergex.tasks.metrics import AGGREGATIONS, measure
from adamergex.tasks.templates import Templates

__all__ = ["built", "harness_reading"]

_NOT_ASKED = (
    "dataset_path", "dataset_name", "dataset_kwargs", "metadata", "process_docs", "shorten", "tag",
)  # fmt: skip
"""Keys that say where rows are, what was done to them and what is done to prompts."""


def built(config: Mapping[str, Any], docs: Docs, templates: Templates) -> Any:
    """lm-evaluation-harness's own task object over these docs."""
    prepared = _prepared(config)
    try:
        return _task_class()(config={**prepared, "custom_dataset": lambda: {"test": docs}})
    except Exception as error:
        raise templates.misfit(docs[0], error) from None


def harness_reading(config: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """What lm-evaluation-harness itself makes of a data set, without anything of ours.

    Args:
        config: The task in one language.
        data: Split -> rows, as datasets loads them.

    Returns:
        Split -> for each row the description, the prompt, the prefix of the answer, the choices
        and the answer.
    """
    from lm_eval.api.task import ConfigurableTask

    prepared = _prepared(config) | {"test_split": next(iter(data))}
    task: Any = ConfigurableTask(config={**prepared, "custom_dataset": lambda: data})
    choices = prepared.get("doc_to_choice")
    return {
        split: [
            (
                task.resolve_field(doc, task.config.description) or "",
                task.doc_to_text(doc),
                task.doc_to_prefix(doc),
                task.doc_to_choice(doc) if choices is not None else [],
                task.doc_to_target(doc),
            )
            for doc in found
        ]
        for split, found in data.items()
    }


def _prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as lm-evaluation-harness takes it, over a data set with the one split `test`."""
    _prepare_harness()
    made = {key: value for key, value in config.items() if key not in _NOT_ASKED}
    made |= {"training_split": None, "validation_split": None, "test_split": "test"}
    if isinstance(made.get("process_results"), str):
        made["process_results"] = measure(made["process_results"])
    if made.get("metric_list"):
        made["metric_list"] = [_aggregating(entry) for entry in made["metric_list"]]
    _check_metrics(made)
    return made


@lru_cache(maxsize=1)
def _task_class() -> Any:
    """lm-evaluation-harness's task, which reads what was made of each row instead of making it."""
    from lm_eval.api.task import ConfigurableTask

    class Asked(ConfigurableTask):
        def doc_to_text(self, doc: Doc, doc_to_text: Any = None) -> str:  # noqa: ARG002
            return doc.text

        def doc_to_choice(self, doc: Doc, doc_to_choice: Any = None) -> list[str]:  # noqa: ARG002
            return doc.choices

        def doc_to_target(self, doc: Doc, doc_to_target: Any = None) -> Any:  # noqa: ARG002
            return doc.target

        @staticmethod
        def resolve_field(doc: Doc, field: str | None = None) -> str:  # noqa: ARG004
            return doc.description

    return Asked


def _aggregating(entry: Any) -> Any:
    """An entry of metric_list with the function in place of a name that is only known here."""
    named = str(entry.get("aggregation")) if isinstance(entry, Mapping) else ""
    return {**entry, "aggregation": AGGREGATIONS[named]} if named in AGGREGATIONS else entry


def _check_metrics(config: Mapping[str, Any]) -> None:
    """Raises InputError for a metric that is not lm-evaluation-harness's own.

    It would look for any other with `evaluate.load`, which runs the Python that it finds there.
    """
    import lm_eval.api.metrics  # noqa: F401 - which makes them known
    from lm_eval.api.registry import metric_registry

    if config.get("process_results") is not None:
        return  # which measures itself
    known = sorted(metric_registry.keys())
    for entry in config.get("metric_list") or []:
        named = entry if isinstance(entry, Mapping) else {"metric": entry}
        if named.get("metric") not in known or named.get("hf_evaluate"):
            raise InputError(config["task"], "metric_list", found=entry, needed=" or ".join(known))


def _prepare_harness() -> None:
    """Templates run in a sandbox: a task is data from anywhere. And no warning at every task."""
    from lm_eval import utils

    from adamergex.tasks.sandbox import Sandbox

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if not isinstance(utils.env, Sandbox):
        old = utils.env
        utils.env = Sandbox(loader=old.loader, undefined=old.undefined, keep_trailing_newline=True)
        utils.env.filters.update(old.filters)
