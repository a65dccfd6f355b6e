"""What each kind of step does: fn(config, inputs, out) -> record.

`inputs` are the folders of finished steps by role, and files by their SHA-256; `out` is a new
folder; nothing else passes from step to step. The heavy imports are inside, so that a plan can be
made and looked at without them.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError
from adamergex.run.store import read_record
from adamergex.run.training import (
    Config,
    Inputs,
    Record,
    distil,
    diverge,
    model_of,
    start,
    teach,
    train,
    train_sparse,
)

__all__ = ["FUNCTIONS"]


def prepare_model(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """Loads the backbone once, which converts or downloads it the first time."""
    from adamergex.models import backbone

    base = backbone(model_of(config, inputs), None, config.get("model_kwargs"))
    parameters = base.model.num_parameters()  # a weight of 4 bits shares its byte with another
    size = base.model.get_memory_footprint()
    return {"parameters": parameters, "family": base.family, "bytes": size}


def merge(config: Config, inputs: Inputs, out: Path) -> Record:
    """T ⊕ t · (Rt ⊖ Rs), in out/adapter."""
    from adamergex.merging import merge as merged

    made = merged(**_adapters(inputs), **config)
    return {**made.summary, **made.save(out / "adapter").facts}


def weighted(config: Config, inputs: Inputs, out: Path) -> Record:
    """A weighted sum of adapters, in out/adapter."""
    from adamergex.merging.combination import weighted as added

    return added(adapters=_adapters(inputs), output=out / "adapter", **config).facts


def arimerge(config: Config, inputs: Inputs, out: Path) -> Record:
    """AriMerge, in out/adapter."""
    from adamergex.merging.combination import arimerge as arimerged

    return arimerged(**_adapters(inputs), output=out / "adapter", **config).facts


def layer_swap(config: Config, inputs: Inputs, out: Path) -> Record:
    """Layer swapping, in out/adapter."""
    from adamergex.merging.combination import layer_swap as swapped

    return swapped(**_adapters(inputs), output=out / "adapter", **config).facts


def add_sparse(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """The sum of sparse fine-tunings, in out/adapter."""
    from adamergex.models import add_sparse as added

    return added(list(_adapters(inputs).values()), out / "adapter")


def score(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """An adapter's, or the base model's, answers to questions of one language."""
    if "unchanged" in inputs and read_record(inputs["adapter"])["scale"] == 0:
        return read_record(inputs["unchanged"])
    from adamergex.score import scored

    adapter = inputs["adapter"] / "adapter" if "adapter" in inputs else None
    model = model_of(config, inputs)
    record = scored(
        model,
        adapter,
        config["data"],
        inputs,
        config.get("prompting"),
        model_kwargs=config.get("model_kwargs"),
        chat=config.get("chat"),
    )
    for notice in record.get("notices", []):
        logging.getLogger("adamergex").warning("adamergex: %s", notice)
    return record


def ensemble(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """The mean of several models' answers, from their scorings of the same questions."""
    from adamergex.score import ensembled
    from adamergex.tasks import questions

    roles = sorted(role for role in inputs if role.startswith("member."))
    records = [read_record(inputs[role]) for role in roles]
    logs = [record["log_likelihoods"] for record in records]
    said = list(dict.fromkeys(line for record in records for line in record.get("notices", [])))
    record = ensembled(questions(config["data"], inputs), logs)
    return record | ({"notices": said} if said else {})


def select(config: Config, inputs: Inputs, out: Path) -> Record:
    """The candidate that did best; its adapter is handed on in out/adapter."""
    from adamergex.select import Candidate, chosen

    points = [
        {"label": label, "scale": scale, **_standing(config, inputs, i)}
        for i, (label, scale) in enumerate(zip(config["labels"], config["scales"], strict=True))
    ]
    best = chosen([Candidate(point["scale"], point["score"]) for point in points])
    shutil.copytree(inputs[f"adapter.{best}"] / "adapter", out / "adapter")
    setting, scale = points[best]["label"], points[best]["scale"]
    return {"chosen": best, "setting": setting, "scale": scale, "by": config["by"], "dev": points}


def _standing(config: Config, inputs: Inputs, candidate: int) -> Record:
    """A candidate's score, the mean over the languages that are asked, and its standard error."""
    from adamergex.score.statistics import mean, standard_error_over
    from adamergex.select import confidence

    records = [read_record(inputs[f"dev.{code}.{candidate}"]) for code in config["languages"]]
    if config["by"] == "confidence":
        logs = [record["log_likelihoods"] for record in records]
        if None in logs:
            needed = "dev: answers in free text have no likelihood to choose by"
            raise AdamergexError(f"scale.select: found unlabelled; needed {needed}")
        return {"score": mean([confidence(rows) for rows in logs]), "standard_error": None}
    if config["by"] == "divergence":  # the less, the better
        score = -mean([record["divergence"] for record in records])
        return {"score": score, "standard_error": None}
    return {
        "score": mean([record["score"] for record in records]),
        "standard_error": standard_error_over([record["values"] for record in records]),
    }


def geometry(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """Cosines and norm ratios by layer of the adapters around a merge, if they had one start."""
    import numpy as np

    from adamergex.checkpoint import open_checkpoint
    from adamergex.merging.inspection import gram

    roles = [r for r in ("task", "reference_target", "reference_source", "oracle") if r in inputs]
    starts = {read_record(inputs[role])["init_sha256"] for role in roles}
    if len(starts) != 1:
        raise AdamergexError(f"{', '.join(roles)} started from {len(starts)} initialisations")
    table = gram([open_checkpoint(inputs[role] / "adapter") for role in roles])
    t, rt, rs, *oracle = np.eye(len(roles))
    return {
        "references": table.relation(rt, rs),
        "divergence_to_task": table.relation(rt - rs, t),
        "alignment": table.relation(rt - rs, oracle[0] - t) if oracle else None,
        "init_sha256": starts.pop(),
    }


def results(config: Config, inputs: Inputs, out: Path) -> Record:
    """All the numbers of the experiment in one place, out/results.json."""
    from adamergex.run.results import assembled

    found = assembled(config, {role: read_record(folder) for role, folder in inputs.items()})
    (out / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return {}


def _adapters(inputs: Inputs) -> dict[str, Any]:
    return {role: folder / "adapter" for role, folder in inputs.items()}


FUNCTIONS: Mapping[str, Callable[[Config, Inputs, Path], Record]] = {
    "model": prepare_model,
    "train": train,
    "train-sparse": train_sparse,
    "diverge": diverge,
    "start": start,
    "teach": teach,
    "distil": distil,
    "merge": merge,
    "weighted": weighted,
    "arimerge": arimerge,
    "layer-swap": layer_swap,
    "add-sparse": add_sparse,
    "score": score,
    "ensemble": ensemble,
    "select": select,
    "geometry": geometry,
    "results": results,
}
