"""Records of an experiment as its steps would write them, made by hand."""

from __future__ import annotations

import math
from typing import Any

N = 40
DEV_ERROR = 0.02
INIT = "ab" * 32


def test_record(right: int) -> dict[str, Any]:
    """`right` of N items, the first ones."""
    p = right / N
    return {
        "correct": [i < right for i in range(N)],
        "n": N,
        "accuracy": p,
        "standard_error": math.sqrt(p * (1 - p) / (N - 1)),
        "chance": 0.125,
        "majority": 0.275,
    }


test_record.__test__ = False  # a name that pytest would take for a test


SETTINGS = {"t=0": 0.0, "t=0.5": 0.5, "t=1": 1.0}
EVERY_SETTING = {
    "t=0": 0.0,
    "translation, weight, t=0.5": 0.5,
    "translation, weight, t=1": 1.0,
    "causal-lm, factor, t=0.5": 0.5,
    "causal-lm, factor, t=1": 1.0,
}
"""Label -> scale: what a row chooses among, and what the headline row does."""


def select_record(
    accuracies: list[float], chosen: int, settings: dict[str, float] = SETTINGS
) -> dict[str, Any]:
    """The dev score of each setting, and the one that was chosen."""
    dev = [
        {"label": label, "scale": t, "accuracy": a, "standard_error": DEV_ERROR}
        for (label, t), a in zip(settings.items(), accuracies, strict=True)
    ]
    return {
        "chosen": chosen,
        "setting": dev[chosen]["label"],
        "scale": dev[chosen]["scale"],
        "dev": dev,
    }


def relation(cosine: float, ratio: float) -> dict[str, Any]:
    """As merging.Gram has it, for two layers and a module outside them."""
    layers = [
        {"layer": layer, "cosine": cosine + 0.01 * layer, "norm_ratio": ratio + 0.1 * layer}
        for layer in (-1, 0, 1)
    ]
    return {"cosine": cosine, "norm_ratio": ratio, "by_layer": layers}


def geometry_record(alignment: float) -> dict[str, Any]:
    """The record of a geometry step."""
    return {
        "references": relation(0.3, 1.1),
        "divergence_to_task": relation(0.05, 0.7),
        "alignment": relation(alignment, 0.9),
        "init_sha256": INIT,
    }


# Method, variant, right answers on test, dev scores (if dev chooses) and the one chosen.
ROWS: list[tuple[str, str, int, list[float] | None, int]] = [
    ("zero-shot", "", 6, None, 0),
    ("source-ft", "", 20, None, 0),
    ("target-ft", "oracle", 30, None, 0),
    ("projection", "parallel text", 27, None, 0),
    ("arimerge", "translation", 18, [0.5, 0.45, 0.4], 0),
    ("add-reference", "translation", 23, [0.5, 0.55, 0.5], 1),
    ("adamergex", "translation, weight", 25, [0.5, 0.625, 0.55], 1),
    ("adamergex", "causal-lm, factor", 17, [0.5, 0.525, 0.6], 2),
    ("adamergex", "best on dev", 25, [0.5, 0.625, 0.55, 0.525, 0.6], 1),
]
HEADLINE = len(ROWS) - 1
"""The number of the first target's row that answers what to deploy."""
REFERENCES = ["translation", "causal-lm"]
ALIGNMENTS = {"translation": 0.0625, "causal-lm": -0.125}


def experiment(targets: tuple[str, ...] = ("fa", "tr")) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config of a `results` step and the records of its inputs.

    In the second target every method but the oracle has one right answer fewer.
    """
    table: list[dict[str, Any]] = []
    records: dict[str, Any] = {"source": test_record(33)}
    for k, target in enumerate(targets):
        for method, variant, right, dev, chosen in ROWS:
            number, headline = len(table), variant == "best on dev"
            name = {"target": target, "method": method, "variant": variant}
            table.append({**name, "headline": headline})
            records[f"test.{number}"] = test_record(right - k * (method != "target-ft"))
            if dev is not None:
                settings = EVERY_SETTING if headline else SETTINGS
                records[f"select.{number}"] = select_record(dev, chosen, settings)
        for name in REFERENCES:
            records[f"geometry.{target}.{name}"] = geometry_record(ALIGNMENTS[name])
    config = {"rows": table, "targets": list(targets), "references": REFERENCES}
    return config, records
