"""What people look for, copied out of the store: the numbers, and the adapters to deploy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adamergex.checkpoint import staged
from adamergex.recipe import Recipe
from adamergex.run.cards import chosen_step, introduce
from adamergex.run.provenance import common, differences
from adamergex.run.schedule import Steps
from adamergex.step import Step, in_order
from adamergex.tasks import language_name

__all__ = ["publish"]


def publish(recipe: Recipe, last: Step, store: Steps, output: Path) -> dict[str, Any]:
    """Writes output/results.json and output/adapters; returns what results.json holds.

    Args:
        recipe: What was run.
        last: The step `results` of its plan, finished.
        store: Where the steps are.
        output: The folder of the run.
    """
    found = json.loads((store.path(last) / "results.json").read_text(encoding="utf-8"))
    written = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    records = {step: store.record(step) for step in in_order([last])}
    results = {
        **found,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "recipe_text": yaml.safe_dump(written, sort_keys=False, allow_unicode=True),
        "languages": {code: language_name(code) for code in (recipe.source, *recipe.targets)},
        "environment": common(records),
        "commits": {
            k: v for found in records.values() for k, v in found.get("commits", {}).items()
        },
        "versions": _versions(found, last, records),
        "costs": [_cost(step, record) for step, record in records.items()],
    }
    results["adapters"] = _write_adapters(recipe, results, last, store, output / "adapters")
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", encoding="utf-8")
    return results


def _versions(
    results: Mapping[str, Any], last: Step, records: Mapping[Step, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Where steps were made with several versions of a package: each, and the rows it is behind."""
    differing = differences(records)
    if not differing:
        return []
    behind: dict[str, set[Step]] = {}
    for task in results["tasks"]:
        for row in task["rows"]:
            name = " ".join(filter(None, (row["method"], row["variant"])))
            tests = [last.inputs[f"test.{run['key']}"] for run in row["runs"]]
            behind[f"{task['task']}, {row['target']}: {name}"] = {*in_order(tests)}
    return [
        {
            "package": package,
            "version": version,
            "steps": [step.label for step in steps],
            "rows": [row for row, needed in behind.items() if not needed.isdisjoint(steps)],
        }
        for package, by_version in differing.items()
        for version, steps in by_version.items()
    ]


def _write_adapters(
    recipe: Recipe, results: Mapping[str, Any], last: Step, store: Steps, folder: Path
) -> dict[str, Any]:
    """The adapter of each headline row, for the first seed: adapters/TASK-LANGUAGE.

    Returns:
        Its name -> `test`, the step that scored it; `how` it was scored; `merges`, see `_merges`.
    """
    found: dict[str, Any] = {}
    rows = [(task, row) for task in results["tasks"] for row in task["rows"]]
    with staged(folder) as stage:
        for task, row in rows:
            if row["headline"]:
                test = last.inputs[f"test.{row['runs'][0]['key']}"]
                adapter = store.path(test.inputs["adapter"]) / "adapter"
                made = stage / f"{task['task']}-{row['target']}"
                shutil.copytree(adapter, made)
                introduce(recipe, task, row, test, store, made)
                merges = _merges(test.inputs["adapter"], store)
                how = {
                    key: test.config[key] for key in ("model_kwargs", "chat") if key in test.config
                }
                found[made.name] = {"test": test.folder, "how": how, "merges": merges}
    return found


def _merges(adapter: Step, store: Steps) -> list[dict[str, Any]]:
    """Each way of merging that an adapter was chosen among, whatever t; the chosen one first.

    Returns:
        name; scale, the t that was chosen, or 1 where another way was; inputs, role -> the folder
        of the step; options of merging.merge.
    """
    chosen = chosen_step(adapter, store)
    ways: dict[Any, dict[str, Any]] = {}
    for step in (chosen, *adapter.inputs.values()):
        if step.kind == "merge":
            options = {key: value for key, value in step.config.items() if key != "scale"}
            inputs = {role: needed.folder for role, needed in step.inputs.items()}
            # T itself may have been chosen: every way has it, at 0.
            other = chosen.kind == "merge" and step != chosen
            t = 1.0 if other else chosen.config.get("scale", 0.0)
            name = ", ".join(step.label.split(", ")[1:-1])
            way = {"name": name, "scale": t, "inputs": inputs, "options": options}
            ways.setdefault(json.dumps([inputs, options], sort_keys=True), way)
    return list(ways.values())


def _cost(step: Step, record: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: record.get(name) for name in ("seconds", "tokens", "steps", "peak_memory")}
    return {"step": step.label, "kind": step.kind, **known}
