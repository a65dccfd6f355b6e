"""What each kind of step does: fn(config, inputs, out) -> record.

`inputs` are the folders of finished steps and `out` is a new one; nothing else passes from step to
step. The heavy imports are inside, so that a plan can be made and looked at without them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError
from adamergex.run.results import assembled
from adamergex.run.store import read_record

__all__ = ["FUNCTIONS"]

Config = Mapping[str, Any]
Inputs = Mapping[str, Path]
Record = dict[str, Any]


def prepare_model(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """Loads the backbone once, which converts the built-in one the first time."""
    from adamergex.models import backbone

    start = time.perf_counter()
    model = backbone(config["model"]).model
    seconds = time.perf_counter() - start
    return {"parameters": sum(p.numel() for p in model.parameters()), "seconds": seconds}


def find_vocabulary(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """The tokens that any of the experiment's completions uses."""
    from adamergex.models import backbone
    from adamergex.tasks import examples
    from adamergex.train import vocabulary_of

    rows = [row for wanted in config["data"] for row in examples(wanted)]
    tokens = vocabulary_of(backbone(config["model"]), rows)
    return {"size": len(tokens), "tokens": tokens}


def train(config: Config, inputs: Inputs, out: Path) -> Record:
    """One adapter, in out/adapter."""
    from adamergex.models import backbone
    from adamergex.tasks import examples
    from adamergex.train import train_adapter

    labels = read_record(inputs["labels"])["predictions"] if "labels" in inputs else None
    return train_adapter(
        backbone(config["model"]),
        examples(config["data"], labels),
        out / "adapter",
        adapter=config["adapter"],
        training=config["training"],
        seed=config["seed"],
        vocabulary=read_record(inputs["vocabulary"])["tokens"],
    )


def merge(config: Config, inputs: Inputs, out: Path) -> Record:
    """T ⊕ t · (Rt ⊖ Rs), in out/adapter."""
    from adamergex.merging import merge as merged

    made = merged(**_adapters(inputs), scale=config["scale"], space=config["space"])
    return {**made.summary, **made.save(out / "adapter").facts}


def add(config: Config, inputs: Inputs, out: Path) -> Record:
    """T + t Rt, in out/adapter."""
    from adamergex.merging import add as added

    return added(**_adapters(inputs), scale=config["scale"], output=out / "adapter").facts


def arimerge(config: Config, inputs: Inputs, out: Path) -> Record:
    """AriMerge, in out/adapter."""
    from adamergex.merging import arimerge as arimerged

    return arimerged(**_adapters(inputs), c=config["c"], output=out / "adapter").facts


def score(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """An adapter, or the base model, on one split of one language."""
    from adamergex.models import backbone
    from adamergex.score import accuracy, majority, predictions, standard_error
    from adamergex.tasks import items

    if "unchanged" in inputs and read_record(inputs["adapter"])["scale"] == 0:
        return read_record(inputs["unchanged"])
    asked = items(config["data"])
    base = backbone(config["model"])
    start = time.perf_counter()
    with base.adapted(inputs["adapter"] / "adapter" if "adapter" in inputs else None) as model:
        answers = predictions(base, model, asked)
    correct = [answer == item.gold for answer, item in zip(answers, asked, strict=True)]
    return {
        "predictions": answers,
        "correct": correct,
        "n": len(asked),
        "accuracy": accuracy(correct),
        "standard_error": standard_error(correct),
        "chance": sum(1 / len(item.choices) for item in asked) / len(asked),
        "majority": majority([item.gold for item in asked]),
        "seconds": time.perf_counter() - start,
    }


def select(config: Config, inputs: Inputs, out: Path) -> Record:
    """The candidate with the best dev score; its adapter is handed on in out/adapter."""
    from adamergex.select import Candidate, chosen

    scores = [read_record(inputs[f"dev.{i}"]) for i in range(len(config["scales"]))]
    candidates = [
        Candidate(scale, found["accuracy"])
        for scale, found in zip(config["scales"], scores, strict=True)
    ]
    best = chosen(candidates)
    shutil.copytree(inputs[f"adapter.{best}"] / "adapter", out / "adapter")
    return {
        "chosen": best,
        "setting": config["labels"][best],
        "scale": config["scales"][best],
        "dev": [
            {
                "label": label,
                "scale": c.scale,
                "accuracy": c.score,
                "standard_error": s["standard_error"],
            }
            for label, c, s in zip(config["labels"], candidates, scores, strict=True)
        ],
    }


def geometry(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """Cosines and norm ratios by layer of the adapters around a merge, if they had one start."""
    import numpy as np

    from adamergex.checkpoint import open_checkpoint
    from adamergex.merging import gram

    roles = ("task", "reference_target", "reference_source", "oracle")
    starts = {read_record(inputs[role])["init_sha256"] for role in roles}
    if len(starts) != 1:
        raise AdamergexError(f"{', '.join(roles)} started from {len(starts)} initialisations")
    table = gram([open_checkpoint(inputs[role] / "adapter") for role in roles])
    t, rt, rs, oracle = np.eye(4)
    return {
        "references": table.relation(rt, rs),
        "divergence_to_task": table.relation(rt - rs, t),
        "alignment": table.relation(rt - rs, oracle - t),
        "init_sha256": starts.pop(),
    }


def results(config: Config, inputs: Inputs, out: Path) -> Record:
    """All the numbers of the experiment in one place, out/results.json."""
    found = assembled(config, {role: read_record(folder) for role, folder in inputs.items()})
    (out / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return {}


def _adapters(inputs: Inputs) -> dict[str, Any]:
    return {role: folder / "adapter" for role, folder in inputs.items()}


FUNCTIONS: Mapping[str, Callable[[Config, Inputs, Path], Record]] = {
    "model": prepare_model,
    "vocabulary": find_vocabulary,
    "train": train,
    "merge": merge,
    "add": add,
    "arimerge": arimerge,
    "score": score,
    "select": select,
    "geometry": geometry,
    "results": results,
}
