"""The model card of an adapter to deploy: what the experiment knows of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamergex.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    Story,
    base_fields,
    card,
    hub_base,
    is_builtin,
    notice_of_base,
    obstacles,
    open_checkpoint,
    plain_text,
    versions,
    write_json,
)
from adamergex.methods import Catalog
from adamergex.recipe import Recipe
from adamergex.run.schedule import Steps
from adamergex.step import Step
from adamergex.tasks import code_for, language_name

__all__ = ["chosen_step", "introduce"]

Record = Mapping[str, Any]

_LICENCES = {"google/gemma-3-270m": "gemma"}
"""Those of base models that are known without asking the Hub."""
_ON_HUB = {"acc": "accuracy"}
"""What the Hub calls a metric."""
_CHOSEN = {
    "dev": "chosen on labelled dev items of the target language",
    "unlabelled": "chosen without labels, by how much the answers say",
    "divergence": "chosen without labels, by how near the answers are to those to source text",
    "fixed": "fixed beforehand",
}


def introduce(
    recipe: Recipe, task: Record, row: Record, test: Step, store: Steps, at: Path
) -> None:
    """Gives a copied adapter its base model's name and its card.

    Args:
        recipe: What was run.
        task: The task's part of the results.
        row: The adapter's row in it.
        test: The step that scored the adapter on test items.
        store: Where the steps are.
        at: The copied adapter folder; one that is not PEFT's is left as it is.
    """
    if not (at / CONFIG_FILE).is_file():
        return
    config = json.loads((at / CONFIG_FILE).read_text(encoding="utf-8"))
    config |= base_fields(_base(recipe))
    write_json(at / CONFIG_FILE, config)
    notice = notice_of_base(config)
    if notice:
        notice = notice.replace("--base-model", "base_model in the recipe")
        logging.getLogger("adamergex").warning("adamergex: %s: %s", at.name, notice)
    manifest = {**_facts(at), "builtin": is_builtin(recipe.model)}
    story = _story(recipe, task, row, test, store, config)
    (at / CARD_FILE).write_text(card(manifest, config, story), encoding="utf-8")


def _base(recipe: Recipe) -> str | None:
    """What others call the base; None where only the path of a local one is known."""
    if recipe.base_model:
        return recipe.base_model
    return None if (recipe.folder / recipe.model).exists() else recipe.model


def _facts(adapter: Path) -> dict[str, Any]:
    """merge_manifest.json; of an adapter that was trained what the card says of any."""
    path = adapter / MANIFEST_FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    opened = open_checkpoint(adapter)
    shapes = {name: info.shape for name, info in opened.tensors.items()}
    ranks = [opened.shape(m, "a")[0] for m, parts in opened.layout.modules.items() if "a" in parts]
    return {
        "structure": opened.config.peft_type,
        "obstacles": obstacles(opened.config.stated, shapes),
        "rank": max(ranks, default=None),
        "versions": versions(),
    }


def _story(
    recipe: Recipe, task: Record, row: Record, test: Step, store: Steps, config: Record
) -> Story:
    target, source, name = row["target"], recipe.source, task["task"]
    record, run = store.record(test), row["runs"][0]
    made = chosen_step(test.inputs["adapter"], store)
    names = {role: step.label.removeprefix("train ") for role, step in made.inputs.items()}
    base, data = hub_base(config.get("base_model_name_or_path")), _data_of(recipe, name, target)
    licence = {"license": _LICENCES[base]} if base in _LICENCES else {}
    text = "text-classification" if task["chance"] is not None else "text-generation"
    front = {
        "language": list(dict.fromkeys(code_for(code, "iso") for code in (target, source))),
        **licence,
        **({"datasets": [data]} if data and "/" in data else {}),
        "metrics": [_ON_HUB.get(record["metric"], record["metric"])],
        "pipeline_tag": text,
        "model-index": _index(f"{name}-{target}", text, name, target, data, record, run),
    }
    return Story(
        title=f"{name}, {language_name(target)}",
        front=front,
        text=_text(recipe, task, row, record, data or "local files", made),
        names=names,
    )


def chosen_step(adapter: Step, store: Steps) -> Step:
    """The step that made the adapter: of a choice the one that was chosen."""
    if adapter.kind != "select":
        return adapter
    return adapter.inputs[f"adapter.{store.record(adapter)['chosen']}"]


def _data_of(recipe: Recipe, name: str, target: str) -> str | None:
    """Where the task's rows are from: a data set's name; None where it is local files."""
    catalog = Catalog.of(recipe)
    found = next(x for x in map(catalog.task, recipe.tasks) if x.name == name)
    where = found.in_language(target).get("dataset_path")
    return None if name in recipe.data_files or where is None else str(where)


def _index(
    model: str, kind: str, name: str, target: str, data: str | None, record: Record, run: Record
) -> Any:
    """The score in the form that the Hub shows."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    metric = str(record["metric"])

    return eval_results_to_model_index(
        model,
        [
            EvalResult(
                task_type=kind,
                dataset_type=data or name,
                dataset_name=f"{name}, {language_name(target)}",
                dataset_config=target,
                dataset_split="test",
                metric_type=_ON_HUB.get(metric, metric),
                metric_name=metric,
                metric_value=record["score"],
                metric_args={
                    "n": record["n"],
                    "standard_error": record["standard_error"],
                    "seed": run["seed"],
                },
            )
        ],
    )


def _text(recipe: Recipe, task: Record, row: Record, record: Record, data: str, made: Step) -> str:
    run, target = row["runs"][0], row["target"]
    source = f"{language_name(recipe.source)} ({recipe.source})"
    language = f"{language_name(target)} ({target})"
    error = record["standard_error"]
    spread = "" if error is None else f" ± {error:.3f} (standard error)"
    lines = {
        "task": task["task"],
        "language": f"{language}; labels to train on were in {source}",
        "data": data,
        "test score": f"{record['metric']} {record['score']:.3f}{spread}, {record['n']} items, "
        f"seed {run['seed']}",
        **_before(task, row),
        **_scale(recipe, run, made),
    }
    table = "\n".join(f"| {key} | {plain_text(value)} |" for key, value in lines.items())
    return f"An adapter for one task in one language.\n\n| | |\n| --- | --- |\n{table}\n"


def _before(task: Record, row: Record) -> dict[str, str]:
    """What the task adapter scores as it is, on the same items and with the same seed."""
    same = [r for r in task["rows"] if (r["target"], r["method"]) == (row["target"], "source-ft")]
    if not same or row["method"] == "source-ft":
        return {}
    return {"without the merge": f"{same[0]['runs'][0]['score']:.3f}"}


def _scale(recipe: Recipe, run: Record, made: Step) -> dict[str, str]:
    scale = made.config.get("scale") if run["scale"] is None else run["scale"]
    if scale is None:
        return {}
    how = _CHOSEN[recipe.scale.select]
    among = "" if recipe.scale.select == "fixed" else f", among {len(run['dev'] or ())} settings"
    return {"t": f"{scale:g}, {how}{among}"}
