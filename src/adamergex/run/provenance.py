"""Where a step's result comes from: the packages that made it, and the commits that it read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from adamergex.run.machine import described
from adamergex.step import Step

__all__ = ["commits", "common", "differences", "environment", "origin"]

Record = Mapping[str, Any]

_PACKAGES = (
    "adamergex", "accelerate", "datasets", "lm_eval", "numpy", "peft", "safetensors", "tokenizers",
    "torch", "transformers", "trl",
)  # fmt: skip
_PINNED = re.compile(r"(?P<name>[^@]+)@(?P<commit>[0-9a-f]{40})")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNKNOWN = "unknown"


def origin(step: Step) -> dict[str, Any]:
    """What the record of a step says of where it comes from, in the process that made it."""
    return {"environment": environment(), "commits": commits(step)}


def environment() -> dict[str, Any]:
    """The machine, and the packages that compute the numbers."""
    return {**described(), "packages": dict(_packages())}


@lru_cache(maxsize=1)
def _packages() -> Mapping[str, str]:
    return {name: found for name in _PACKAGES if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commits(step: Step) -> dict[str, str | None]:
    """The commit of each model and data set on the Hub that a step reads; None where unknown."""
    found = dict(_of_data(step.config))
    model = step.config.get("model")
    if isinstance(model, str) and model not in step.files and ":" not in model:  # builtin:...
        pinned = _PINNED.fullmatch(model)
        found |= {pinned["name"]: pinned["commit"]} if pinned else {model: None}
    return found


def _of_data(value: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("hub"), str):
            revision = str((value.get("options") or {}).get("revision"))
            yield value["hub"], revision if _COMMIT.fullmatch(revision) else None
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _of_data(inner)


def common(records: Mapping[Step, Record]) -> dict[str, Any]:
    """The environment in which steps were made: of what differs, each value once.

    A number that differs is None. Steps of older records, which do not say, are left out.
    """
    found = [record["environment"] for record in records.values() if "environment" in record]
    packages = [known["packages"] for known in found]
    machines = [{k: v for k, v in known.items() if k != "packages"} for known in found]
    return {**_merged(machines), "packages": _merged(packages)}


def _merged(found: list[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for known in found for name in known)
    return {name: _joined([known.get(name) for known in found]) for name in names}


def _joined(values: list[Any]) -> Any:
    several = [value for value in dict.fromkeys(values) if value is not None]
    if len(several) < 2:
        return several[0] if several else None
    return ", ".join(several) if all(isinstance(value, str) for value in several) else None


def differences(records: Mapping[Step, Record]) -> dict[str, dict[str, list[Step]]]:
    """The packages of which steps were made with several versions: version -> those steps."""
    found: dict[str, dict[str, list[Step]]] = {}
    for step, record in records.items():
        known = record.get("environment", {"packages": {}})
        versions = {"python": known.get("python"), **known["packages"]}
        for name in ("python", *_PACKAGES):
            own = versions.get(name) or _UNKNOWN
            found.setdefault(name, {}).setdefault(own, []).append(step)
    return {name: by for name, by in found.items() if len(by) > 1}
