"""What people look for, copied out of the store: the numbers, and the adapters to deploy."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from adamergex.checkpoint import staged
from adamergex.recipe import Recipe
from adamergex.run.schedule import Steps
from adamergex.step import Step, in_order
from adamergex.tasks import language_name

__all__ = ["environment", "publish"]

_PACKAGES = (
    "adamergex", "accelerate", "datasets", "lm_eval", "numpy", "peft", "torch", "transformers",
    "trl",
)  # fmt: skip


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
    results = {
        **found,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "recipe_text": yaml.safe_dump(written, sort_keys=False, allow_unicode=True),
        "languages": {code: language_name(code) for code in (recipe.source, *recipe.targets)},
        "environment": environment(),
        "costs": [_cost(step, store.record(step)) for step in in_order([last])],
    }
    _write_adapters(results, last, store, output / "adapters")
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", encoding="utf-8")
    return results


def environment() -> dict[str, Any]:
    """The machine and the packages that computed the numbers."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _write_adapters(results: Mapping[str, Any], last: Step, store: Steps, folder: Path) -> None:
    """The adapter of each headline row, for the first seed: adapters/TASK-LANGUAGE."""
    rows = [(task["task"], row) for task in results["tasks"] for row in task["rows"]]
    with staged(folder) as stage:
        for task, row in rows:
            if row["headline"]:
                test = last.inputs[f"test.{row['runs'][0]['key']}"]
                adapter = store.path(test.inputs["adapter"]) / "adapter"
                shutil.copytree(adapter, stage / f"{task}-{row['target']}")


def _cost(step: Step, record: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: record.get(name) for name in ("seconds", "tokens", "steps", "peak_memory")}
    return {"step": step.label, "kind": step.kind, **known}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
