"""How many steps at once on this machine: by its cores, its memory and its GPUs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open

from adamergex.run.machine import cores, free_memory, gpus
from adamergex.run.parallel import processes_of
from adamergex.run.schedule import Steps
from adamergex.step import Step, in_order

__all__ = ["WITH_MODEL", "Workers", "weights_of", "workers_for"]

WITH_MODEL = ("model", "train", "train-sparse", "start", "teach", "distil", "diverge", "score")
"""Kinds of steps that run the model."""

_MOST = 4
_FLOAT = 4
"""Bytes of a float32, in which models are run by default."""
_BYTES = {"bfloat16": 2, "float16": 2, "int8": 1.5, "nf4": 1}
"""Bytes of a weight otherwise; of quantised ones at most: embeddings are not."""
_BESIDE = 1.9e9
"""Bytes that a worker has beside its weights: libraries 0.6, the rest activations and logits.

Measured with Gemma-3-270M, weights 1.07: 2.3 in all when it trains (r = 8), 3.0 when it scores.
"""
_WHOLE_TRAINING = 5
"""Sparse fine-tuning has a gradient, two moments and a starting value for each weight."""
_BUILTIN = {"builtin:gemma-3-270m": 268_098_176}
"""Parameters, known before the model is made ready."""
_UNKNOWN = "how much memory the model takes is not known yet"
_GGUF_AT_MOST = 8
"""float32 beside the four bits of the usual quantisation."""


@dataclass(frozen=True)
class Workers:
    """How steps are shared out.

    Attributes:
        count: How many at once.
        threads: Each one's.
        devices: Each one's CUDA_VISIBLE_DEVICES; empty where there is no GPU.
        why: The choice in a line, for people; empty where no step runs the model.
    """

    count: int
    threads: int
    devices: tuple[str, ...] = ()
    why: str = ""


def workers_for(steps: Iterable[Step], wanted: int | None, weights: float | None) -> Workers:
    """How many workers do `steps`, and what each has.

    Args:
        steps: What is to be done.
        wanted: How many the user wants; None to choose.
        weights: Bytes of the base model's in memory; None where unknown.
    """
    steps = list(steps)
    processes = max(map(processes_of, steps))
    devices = gpus()
    if devices:
        by_devices = max(1, len(devices) // processes)
        count = wanted or by_devices
        groups = _shared_out(devices, count)
        each = "a GPU" if len(groups[0]) == 1 else f"{len(groups[0])} GPUs"
        why = f"{_at_once(count)}: {each} for each, of {len(devices)}"
        return Workers(count, _threads(count), tuple(map(",".join, groups)), why)
    by_cores = max(1, min(_MOST, cores() // processes))
    if not any(step.kind in WITH_MODEL for step in steps):
        return Workers(wanted or by_cores, _threads(wanted or by_cores))
    if weights is None:
        count = wanted or by_cores
        return Workers(count, _threads(count), why=f"{_at_once(count)}: {_UNKNOWN}")
    copies = _WHOLE_TRAINING if any(step.kind == "train-sparse" for step in steps) else 1
    need, free = processes * (copies * weights + _BESIDE), free_memory()
    count = wanted or max(1, min(by_cores, int(free / need)))
    sizes = f"a worker needs about {_gb(need)}, {_gb(free)} are free"
    return Workers(count, _threads(count), why=f"{_at_once(count)}: {sizes}")


def _at_once(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)} at once"


def _threads(workers: int) -> int:
    return max(1, cores() // workers)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _shared_out(devices: list[str], workers: int) -> list[list[str]]:
    """The GPUs of each worker: as many for each, one for several workers where they are more."""
    size = max(1, len(devices) // workers)
    groups = [devices[i : i + size] for i in range(0, len(devices) - size + 1, size)]
    return [groups[i % len(groups)] for i in range(workers)]


def weights_of(last: Step, store: Steps) -> float | None:
    """Bytes of the base model's weights in memory; None where they are not known before it loads.

    Args:
        last: The step that is wanted.
        store: Where the step that loaded the model may be finished: it counted them.
    """
    for step in in_order([last]):
        if step.kind == "model":
            record = store.record(step) if store.finished(step) else {}
            if "bytes" in record:
                return record["bytes"]
            parameters = record.get("parameters") or _parameters(step)
            return None if parameters is None else _width_in(step) * parameters
    return None


def _width_in(step: Step) -> float:
    """Bytes of a weight in memory, as the step has it loaded."""
    how = step.config.get("model_kwargs", {})
    return _BYTES.get(how.get("quantization") or how.get("dtype"), _FLOAT)


def _parameters(step: Step) -> float | None:
    name = step.config["model"]
    if name in _BUILTIN:
        return _BUILTIN[name]
    try:
        if name not in step.files:
            return _on_the_hub(name)
        place = step.files[name]
        return place.stat().st_size * _GGUF_AT_MOST / _FLOAT if place.is_file() else _in(place)
    except Exception:  # of many kinds, and the step that loads the model says it better
        return None


def _in(folder: Path) -> float | None:
    """What safetensors files say, without reading the weights; of other files, by their size."""
    tensors = list(folder.glob("model*.safetensors"))
    if tensors:
        return sum(map(_in_file, tensors))
    pickles = sum(path.stat().st_size for path in folder.glob("pytorch_model*.bin"))
    return pickles / _width(folder) if pickles else None


def _in_file(path: Path) -> int:
    with cast(Any, safe_open)(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(x).get_shape()) for x in file.offset_keys())


def _width(folder: Path) -> int:
    """Bytes of a weight, as the config says."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return 2 if str(config.get("dtype") or config.get("torch_dtype")).endswith("16") else _FLOAT


def _on_the_hub(name: str) -> float | None:
    """What the cache has, or else what the Hub says."""
    import huggingface_hub as hub

    repository, _, commit = name.partition("@")
    cached = hub.try_to_load_from_cache(repository, "config.json", revision=commit or None)
    found = _in(Path(cached).parent) if isinstance(cached, str) else None
    if found is None:
        facts = hub.HfApi().model_info(repository, revision=commit or None, timeout=10)
        found = facts.safetensors.total if facts.safetensors else None
    return found
