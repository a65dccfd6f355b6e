"""From the records of an experiment to the numbers of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamergex.score.statistics import paired_bootstrap

__all__ = ["assembled"]

Record = Mapping[str, Any]


def assembled(config: Mapping[str, Any], records: Mapping[str, Record]) -> dict[str, Any]:
    """The table, row by row, with the comparison with source-ft; the dev curves; the geometry."""
    rows = [_row(entry, i, records) for i, entry in enumerate(config["rows"])]
    baselines = {r["target"]: r for r in rows if r["method"] == "source-ft"}
    oracles = {r["target"]: r for r in rows if r["method"] == "target-ft"}
    for row in rows:
        base, oracle = baselines[row["target"]], oracles[row["target"]]
        if row is not base:
            row["versus_source_ft"] = _difference(records, row["step"], base["step"])
        gap = oracle["accuracy"] - base["accuracy"]
        row["gap_closed"] = (row["accuracy"] - base["accuracy"]) / gap if gap > 0 else None
    first = records["test.0"]
    source = records["source"]
    return {
        "targets": config["targets"],
        "references": config["references"],
        "n_test": first["n"],
        "chance": first["chance"],
        "majority": first["majority"],
        "source": {k: source[k] for k in ("accuracy", "standard_error", "n")},
        "rows": rows,
        "geometry": {
            target: {
                name: {
                    key: records[f"geometry.{target}.{name}"][key]
                    for key in ("references", "divergence_to_task", "alignment", "init_sha256")
                }
                for name in config["references"]
            }
            for target in config["targets"]
        },
    }


def _row(entry: Record, number: int, records: Mapping[str, Record]) -> dict[str, Any]:
    test, select = records[f"test.{number}"], records.get(f"select.{number}")
    row = {**entry, "step": number, **{k: test[k] for k in ("accuracy", "standard_error", "n")}}
    if select is not None:
        row |= {"setting": select["setting"], "scale": select["scale"], "dev": select["dev"]}
    return row


def _difference(records: Mapping[str, Record], number: int, base: int) -> dict[str, float]:
    ours, theirs = (records[f"test.{i}"]["correct"] for i in (number, base))
    difference, low, high = paired_bootstrap(ours, theirs)
    return {"difference": difference, "low": low, "high": high}
