"""A results.json made by hand: two tasks, two languages, every kind of row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = [
    "HOSTILE",
    "hostile",
    "named",
    "relation",
    "results",
    "row_of",
    "with_means",
    "write",
]

HOSTILE = "<script>alert(1)</script>'\"&|_%\\$x_{1}^#~*`[red](x)"
"""Markup of every format that the report writes, in one name."""

# Method, variant, score, difference with interval, setting by seed, dev scores at t = 0, 0.5, 1.
_ROWS: list[tuple[str, str, float, tuple[float, float, float] | None, Any, Any]] = [
    ("zero-shot", "", 0.196, (-0.270, -0.343, -0.196), None, None),
    ("source-ft", "", 0.466, None, None, None),
    ("target-ft", "oracle", 0.623, (0.157, 0.093, 0.221), None, None),
    ("projection", "parallel text", 0.534, (0.068, 0.010, 0.127), None, None),
    ("arimerge", "causal-lm", 0.451, (-0.015, -0.064, 0.034), ("c=0", "c=0.5"), (0.47, 0.46, 0.38)),
    ("adamergex", "translation, weight", 0.495, (0.029, -0.015, 0.074), ("t=0.5", "t=0.5"),
     (0.47, 0.52, 0.49)),
    ("adamergex", "causal-lm, factor", 0.441, (-0.025, -0.083, 0.034), ("t=0", "t=0.5"),
     (0.47, 0.45, 0.36)),
    ("adamergex", "best on dev", 0.500, (0.034, -0.010, 0.078), ("translation, weight, t=0.5",) * 2,
     None),
]  # fmt: skip


def relation(cosine: float | None, ratio: float | None) -> dict[str, Any]:
    """As merging.inspection.Gram.relation returns it: four layers and a module outside them."""
    layers = [
        {
            "layer": layer,
            "cosine": None if cosine is None else cosine + 0.02 * layer,
            "norm_ratio": None if ratio is None else ratio + 0.1 * layer,
        }
        for layer in (-1, 0, 1, 2, 3)
    ]
    return {"cosine": cosine, "norm_ratio": ratio, "by_layer": layers}


def results(
    targets: tuple[str, ...] = ("swh_Latn", "yor_Latn"), seeds: tuple[int, ...] = (0, 1)
) -> dict[str, Any]:
    """Results of sib200 (accuracy, every kind of row) and of a free-answer task scored by F1.

    Every language has the first's scores less 0.01 for each place after it. In the second task
    source-ft is the best, has no oracle, chance, majority or geometry, and one item fewer.
    """
    return {
        "schema": 2,
        "recipe": {
            "model": "google/gemma-3-270m",
            "adapter": {"type": "lora", "r": 8},
            "scale": {"values": [0.5, 1.0], "select": "dev"},
            "seed": list(seeds),
        },
        "recipe_text": "model: google/gemma-3-270m\nadapter:\n  type: lora  # r is 8\n  r: 8\n",
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "cpu": "A processor of some make @ 2.60GHz",
            "cores": 2,
            "memory_gib": 24.0,
            "gpu": None,
            "packages": {"torch": "2.13.0", "transformers": "5.1.0", "peft": "0.19.0"},
        },
        "languages": {"eng_Latn": "English", "swh_Latn": "Swahili", "yor_Latn": "Yoruba"},
        "source": "eng_Latn",
        "targets": list(targets),
        "seeds": list(seeds),
        "references": ["translation", "causal-lm"],
        "tasks": [_sib200(targets, seeds), _answers(targets, seeds)],
        "costs": [
            _cost("score sib200, swh_Latn", "score", 12.25),
            _cost("train task, eng_Latn", "train", 61.5, 31_000, 132, 3_400_000_000),
            _cost("train translation, swh_Latn", "train", 88.0, 45_000, 210, 3_600_000_000),
            _cost("merge t=0.5", "merge", 0.75),
        ],
    }


def with_means(found: dict[str, Any]) -> dict[str, Any]:
    """The same results, the first task with means over its languages."""
    part = found["tasks"][0]
    for row in (row for row in part["rows"] if row["target"] == found["targets"][0]):
        shared = ("method", "variant", "headline", "standard_error", "seed_sd", "versus_source_ft")
        scores = [
            r["score"]
            for r in part["rows"]
            if (r["method"], r["variant"]) == (row["method"], row["variant"])
        ]
        mean = {name: row[name] for name in (*shared, "gap_closed")}
        mean |= {"score": sum(scores) / len(scores), "n": 408, "deployed_versus": None}
        if not row["headline"]:
            mean["deployed_versus"] = {"difference": 0.0125, "low": -0.0075, "high": 0.0325}
        part["means"].append(mean)
    return found


def _cost(step, kind, seconds, tokens=None, steps=None, memory=None):
    return {
        "step": step, "kind": kind, "seconds": seconds, "tokens": tokens, "steps": steps,
        "peak_memory": memory,
    }  # fmt: skip


def _sib200(targets, seeds):
    rows = [_row(spec, target, k, seeds) for k, target in enumerate(targets) for spec in _ROWS]
    geometry = {
        "translation": _geometry(0.31, 1.1, 0.06),
        "causal-lm": _geometry(0.07, 1.5, -0.002),
    }
    return {
        "task": "sib200",
        "metric": "acc",
        "higher_is_better": True,
        "n_test": dict.fromkeys(targets, 204),
        "chance": 1 / 7,
        "majority": dict.fromkeys(targets, 0.25),
        "source_score": {"score": 0.784, "standard_error": 0.029, "n": 204},
        "rows": rows,
        "means": [],
        "geometry": dict.fromkeys(targets, geometry),
    }


def _answers(targets, seeds):
    specs = [
        ("source-ft", "", 0.412, None, None, None),
        ("adamergex", "best on dev", 0.350, (-0.062, -0.101, -0.022), ("t=0.5", "t=1"), None),
    ]
    rows = [_row(spec, target, k, seeds) for k, target in enumerate(targets) for spec in specs]
    for row in rows:
        row |= {"n": 203, "gap_closed": None, "metrics": {"f1": row["score"]}}
    return {
        "task": "answers",
        "metric": "f1",
        "higher_is_better": True,
        "n_test": dict.fromkeys(targets, 203),
        "chance": None,
        "majority": None,
        "source_score": None,
        "rows": rows,
        "means": [],
        "geometry": {},
    }


def _geometry(cosine, ratio, alignment):
    return {
        "references": relation(cosine, 1.0),
        "divergence_to_task": relation(0.01, ratio),
        "alignment": relation(alignment, 0.9),
    }


def _row(spec, target, place, seeds):
    method, variant, score, versus, chosen, dev = spec
    score -= place / 100
    several = len(seeds) > 1
    return {
        "target": target,
        "method": method,
        "variant": variant,
        "headline": variant == "best on dev",
        "score": score,
        "standard_error": 0.034,
        "n": 204,
        "seed_sd": 0.011 if several else None,
        "versus_source_ft": dict(zip(("difference", "low", "high"), versus, strict=True))
        if versus
        else None,
        "gap_closed": (score + place / 100 - 0.466) / 0.157,
        "metrics": {"acc": score, "acc_norm": score - 0.015625},
        "runs": [
            {
                "seed": seed,
                "score": score + (0.0078125 - i / 64) * several,
                "setting": chosen[i % 2] if chosen else None,
                "scale": float(chosen[i % 2].rpartition("=")[2]) if chosen else None,
                "dev": _dev(chosen, dev, i),
            }
            for i, seed in enumerate(seeds)
        ],
    }


def _dev(chosen, dev, i):
    if chosen is None:
        return None
    if dev is not None:
        letter = chosen[0][0]
        points = [(f"{letter}={t:g}", t, y) for t, y in zip((0.0, 0.5, 1.0), dev, strict=True)]
    else:
        # The row that chooses among all: several settings at one scale.
        points = [("t=0", 0.0, 0.47), ("a, t=0.5", 0.5, 0.52), ("b, t=0.5", 0.5, 0.45)]
    return [
        {"label": label, "scale": t, "score": y + i / 32, "standard_error": 0.05}
        for label, t, y in points
    ]


def hostile() -> dict[str, Any]:
    """Results in which every name that people or files can choose is full of markup."""
    found = results()
    text = json.dumps(found)
    for word in (
        "translation",
        "sib200",
        "projection",
        "acc_norm",
        "torch",
        "score sib",
    ):
        text = text.replace(f'"{word}', f'"{json.dumps(HOSTILE)[1:-1]}{word}')
    found = json.loads(text)
    found["languages"]["swh_Latn"] = HOSTILE
    found["recipe_text"] += f"{HOSTILE}</pre>\n"
    found["environment"]["cpu"] = HOSTILE
    for row in found["tasks"][0]["rows"]:
        if row["method"] == "arimerge":
            row["method"], row["variant"] = "=1+1", "@SUM(A1)"
            for run in row["runs"]:
                run["setting"] = f"-{HOSTILE}"
    return found


def named(found: dict[str, Any], task: str = "sib200") -> dict[str, Any]:
    """One task of the results."""
    return next(part for part in found["tasks"] if part["task"] == task)


def row_of(found: dict[str, Any], method: str, variant: str = "", target: str = "swh_Latn") -> Any:
    """One row of sib200."""
    key = (target, method, variant)
    rows = named(found)["rows"]
    return next(r for r in rows if (r["target"], r["method"], r["variant"]) == key)


def write(folder: Path, found: dict[str, Any]) -> Path:
    """Writes results.json into `folder` and returns the folder."""
    (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
    return folder
