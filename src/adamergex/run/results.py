"""From the records of an experiment to the numbers of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adamergex.score.statistics import mean, paired_bootstrap, standard_error

__all__ = ["RESULTS_SCHEMA", "assembled"]

RESULTS_SCHEMA = 2

Record = Mapping[str, Any]
Identity = tuple[str, str, str]


def assembled(config: Mapping[str, Any], records: Mapping[str, Record]) -> dict[str, Any]:
    """The tables of all tasks: scores, comparisons with source-ft, dev curves, geometry."""
    return {
        "schema": RESULTS_SCHEMA,
        **{key: config[key] for key in ("source", "targets", "seeds", "references", "select")},
        "tasks": [_task(config, task, records) for task in config["tasks"]],
    }


def _task(config: Record, task: Record, records: Mapping[str, Record]) -> dict[str, Any]:
    groups: dict[Identity, list[Record]] = {}
    for entry in task["rows"]:
        identity = (entry["target"], entry["method"], entry["variant"])
        groups.setdefault(identity, []).append(entry)
    # Over seeds: each item's mean, so that what is compared are items, the same in every method.
    values = {
        identity: np.mean([records[f"test.{e['key']}"]["values"] for e in entries], axis=0)
        for identity, entries in groups.items()
    }
    rows = [_row(identity, entries, records, values) for identity, entries in groups.items()]
    tests = {e["target"]: records[f"test.{e['key']}"] for e in reversed(task["rows"])}
    first = next(iter(tests.values()))
    return {
        "task": task["task"],
        "metric": first["metric"],
        "higher_is_better": True,
        "n_test": {target: test["n"] for target, test in tests.items()},
        "chance": first["chance"],
        "majority": _known({target: test["majority"] for target, test in tests.items()}),
        "source_score": _source(config, task["task"], records),
        "rows": rows,
        "geometry": _geometry(task["geometry"], records),
    }


def _row(
    identity: Identity,
    entries: Sequence[Record],
    records: Mapping[str, Record],
    values: Mapping[Identity, Any],
) -> dict[str, Any]:
    target, method, variant = identity
    tests = [records[f"test.{entry['key']}"] for entry in entries]
    ours, base = values[identity], values.get((target, "source-ft", ""))
    oracle = values.get((target, "target-ft", "oracle"))
    score = mean(ours)
    versus = gap = None
    if base is not None and method != "source-ft":
        versus = dict(zip(("difference", "low", "high"), paired_bootstrap(ours, base), strict=True))
        if oracle is not None and mean(oracle) > mean(base):
            gap = (score - mean(base)) / (mean(oracle) - mean(base))
    scores = [test["score"] for test in tests]
    return {
        "target": target,
        "method": method,
        "variant": variant,
        "headline": entries[0]["headline"],
        "score": score,
        "standard_error": standard_error(ours),
        "n": len(ours),
        "seed_sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "versus_source_ft": versus,
        "gap_closed": gap,
        "metrics": {
            name: mean([test["metrics"][name] for test in tests]) for name in tests[0]["metrics"]
        },
        "runs": [_run(entry, records) for entry in entries],
    }


def _run(entry: Record, records: Mapping[str, Record]) -> dict[str, Any]:
    """One seed of a row, with the key of the steps behind it."""
    choice = records.get(f"select.{entry['key']}", {})
    return {
        "seed": entry["seed"],
        "score": records[f"test.{entry['key']}"]["score"],
        "key": entry["key"],
        **{name: choice.get(name) for name in ("setting", "scale", "dev")},
    }


def _source(config: Record, task: str, records: Mapping[str, Record]) -> dict[str, Any] | None:
    keys = [f"source.{task}.{seed}" for seed in config["seeds"]]
    if keys[0] not in records:
        return None
    values = np.mean([records[key]["values"] for key in keys], axis=0)
    return {"score": mean(values), "standard_error": standard_error(values), "n": len(values)}


def _geometry(entries: Sequence[Record], records: Mapping[str, Record]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        record = records[entry["key"]]
        kept = ("references", "divergence_to_task", "alignment")
        found.setdefault(entry["target"], {})[entry["reference"]] = {k: record[k] for k in kept}
    return found


def _known(values: dict[str, Any]) -> dict[str, Any] | None:
    return None if None in values.values() else values
