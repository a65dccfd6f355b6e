"""From the records of an experiment to the numbers of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamergex.score.statistics import (
    holm,
    interval_over,
    mean,
    ratio_interval,
    standard_error,
    standard_error_over,
)

__all__ = ["RESULTS_SCHEMA", "assembled"]

RESULTS_SCHEMA = 3

Record = Mapping[str, Any]
Identity = tuple[str, str, str]
Name = tuple[str, str]  # method and variant
Values = Mapping[Identity, NDArray[np.float64]]
"""Scores by seed and item, by target, method and variant."""

_SOURCE: Name = ("source-ft", "")
_ORACLE: Name = ("target-ft", "oracle")
_ORACLES = (_ORACLE[0], "target-ft-fresh")


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
    values = {
        identity: np.asarray([records[f"test.{e['key']}"]["values"] for e in entries], float)
        for identity, entries in groups.items()
    }
    rows = [_row(identity, entries, records, values) for identity, entries in groups.items()]
    for target in config["targets"]:
        _correct([row for row in rows if row["target"] == target], "versus_source_ft")
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
        "means": _means(config["targets"], rows, values),
        "geometry": _geometry(task["geometry"], records),
    }


def _row(
    identity: Identity,
    entries: Sequence[Record],
    records: Mapping[str, Record],
    values: Values,
) -> dict[str, Any]:
    target, method, variant = identity
    tests = [records[f"test.{entry['key']}"] for entry in entries]
    return {
        "target": target,
        "method": method,
        "variant": variant,
        "headline": entries[0]["headline"],
        **_standing([target], method, variant, values),
        "seed_sd": _spread([test["score"] for test in tests]),
        "metrics": {
            name: mean([test["metrics"][name] for test in tests]) for name in tests[0]["metrics"]
        },
        "runs": [_run(entry, records) for entry in entries],
    }


def _means(targets: Sequence[str], rows: Sequence[Record], values: Values) -> list[dict[str, Any]]:
    """Means over the target languages, where they are several, of what all of them have."""
    found: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        found.setdefault((row["method"], row["variant"]), []).append(row)
    whole = {name: own for name, own in found.items() if len(own) == len(targets) > 1}
    deployed = next((n for n, own in whole.items() if all(r["headline"] for r in own)), None)
    means = [
        {
            "method": name[0],
            "variant": name[1],
            "headline": name == deployed,
            **_standing(targets, *name, values),
            "deployed_versus": _versus(targets, deployed, name, values),
            "seed_sd": _spread(np.mean([[r["score"] for r in row["runs"]] for row in own], axis=0)),
        }
        for name, own in whole.items()
    ]
    for key in ("versus_source_ft", "deployed_versus"):
        _correct(means, key)
    return means


def _correct(rows: Sequence[dict[str, Any]], key: str) -> None:
    """Adds p by Holm's correction to the comparisons of one column; an oracle's is no claim."""
    family = [row[key] for row in rows if row[key] and row["method"] not in _ORACLES]
    for versus, corrected in zip(family, holm([v["p"] for v in family]), strict=True):
        versus["p_holm"] = corrected


def _standing(targets: Sequence[str], method: str, variant: str, values: Values) -> dict[str, Any]:
    """A method's score over languages, each counting the same, and against source-ft there."""
    ours = [values[target, method, variant].mean(axis=0) for target in targets]
    return {
        "score": mean([mean(items) for items in ours]),
        "standard_error": standard_error_over(ours),
        "n": sum(map(len, ours)),
        "versus_source_ft": _versus(targets, (method, variant), _SOURCE, values),
        **_gap(targets, (method, variant), values),
    }


def _gap(targets: Sequence[str], name: Name, values: Values) -> Record:
    """The share of the oracle's gain over source-ft; none where that gain may be 0 or a loss."""
    known = all((target, *one) in values for target in targets for one in (_SOURCE, _ORACLE))
    share = interval = None
    if known and name != _SOURCE:
        ours, oracle = (_differences(targets, one, _SOURCE, values) for one in (name, _ORACLE))
        gain = mean([float(runs.mean()) for runs in oracle])
        interval = ratio_interval(ours, oracle) if gain > 0 else None
        if interval:
            share = mean([float(runs.mean()) for runs in ours]) / gain
    return {"gap_closed": share, "gap_interval": interval and list(interval)}


def _versus(targets: Sequence[str], one: Name | None, other: Name, values: Values) -> Record | None:
    """The first less the second, with its interval; None where there are no two, or one item."""
    if one is None or one == other or any((target, *other) not in values for target in targets):
        return None
    found = interval_over(_differences(targets, one, other, values))
    if found is None:
        return None
    return {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}


def _differences(
    targets: Sequence[str], one: Name, other: Name, values: Values
) -> list[NDArray[np.float64]]:
    return [values[(target, *one)] - values[(target, *other)] for target in targets]


def _spread(scores: Sequence[float]) -> float | None:
    """The standard deviation over seeds."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def _run(entry: Record, records: Mapping[str, Record]) -> dict[str, Any]:
    """One seed of a row, with the key of the steps behind it."""
    choice = records.get(f"select.{entry['key']}", {})
    test = records[f"test.{entry['key']}"]
    return {
        "seed": entry["seed"],
        "score": test["score"],
        **({"notices": test["notices"]} if "notices" in test else {}),
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
