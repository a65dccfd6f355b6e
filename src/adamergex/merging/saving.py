"""Computing units one by one and writing them as an adapter folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adamergex.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    NDArray,
    TensorInfo,
    card,
    check_output,
    obstacles,
    staged,
    tensor_file,
    versions,
    write_json,
)
from adamergex.merging.units import Computed, Unit

__all__ = ["Outcome", "save_adapter", "served"]

_MOST_THREADS = 8
"""More would not write faster, and each holds a module."""


@dataclass(frozen=True)
class Outcome:
    """What computing a merge showed.

    Attributes:
        error: Relative Frobenius error of the truncation over all modules; 0 where exact.
        worst_module: The module with the largest error of its own; None where exact.
        worst_error: That error.
        guarded: Elements of (IA)³ or DoRA vectors whose ratio was left at 1.
    """

    error: float = 0.0
    worst_module: str | None = None
    worst_error: float = 0.0
    guarded: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """The same under the names of the manifest."""
        return {
            "relative_error": self.error,
            "worst_module": self.worst_module,
            "worst_module_error": self.worst_error,
            "guarded_elements": self.guarded,
        }


def save_adapter(
    output: Path,
    units: Sequence[Unit],
    *,
    config: Mapping[str, object],
    summary: Mapping[str, Any],
    inputs: Mapping[str, Checkpoint],
    overwrite: bool = False,
) -> Outcome:
    """Writes a PEFT folder with its manifest and model card, whole or not at all.

    Args:
        output: The folder to make.
        units: What to compute.
        config: adapter_config.json.
        summary: What merge_manifest.json says beside the outcome, the inputs and the versions.
        inputs: Role -> the checkpoint that the units read.
        overwrite: Whether an adapter folder that is there may be replaced.

    Raises:
        InputError: The path may not be written; a tensor is not finite, or does not fit its dtype.
    """
    check_output(output, overwrite=overwrite, inputs=[c.folder for c in inputs.values()])
    infos = {name: info for unit in units for name, info in unit.tensors.items()}
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    _keep_freed_memory()
    with staged(output) as folder:
        with (
            _one_blas_thread(),
            tensor_file(folder / WEIGHTS_FILE, infos) as put,
            ThreadPoolExecutor(threads) as pool,
        ):
            provenance = pool.map(_provenance, inputs.values())
            outcome = _outcome(units, list(pool.map(partial(_written, put), units)))
        manifest = {
            "schema": 1,
            **summary,
            **outcome.facts,
            **({} if "obstacles" in summary else served(config, infos)),
            "inputs": dict(zip(inputs, provenance, strict=True)),
            "versions": versions(),
        }
        write_json(folder / CONFIG_FILE, config)
        write_json(folder / MANIFEST_FILE, manifest)
        (folder / CARD_FILE).write_text(card(manifest, config), encoding="utf-8")
    return outcome


def served(config: Mapping[str, object], infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Whether servers take an adapter as it stands, and what stands against it on each."""
    found = obstacles(config, {name: info.shape for name, info in infos.items()})
    return {"servable": not any(found.values()), "obstacles": found}


def _written(put: Callable[[str, NDArray], None], unit: Unit) -> Computed:
    """What making a unit showed; its tensors are in the file, and no longer in memory."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows `put` refuses
        made = unit.compute()
    for name, value in made.values.items():
        put(name, value)
    return replace(made, values={})


def _keep_freed_memory() -> None:
    """Without it glibc hands the memory of most arrays back to the system when they are freed.

    Taking it in again for the next ones was a quarter of a merge. Once a block as large as this one
    was freed, glibc maps and hands back one by one only what is larger: for the rest of the
    process, as after any such array. Other C libraries do not mind.
    """
    np.empty(2**25 - 2**13, np.uint8)


def _one_blas_thread() -> Any:
    """On tall, thin factors more threads gain little; on busy processors they wait in vain."""
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1":  # as for the command, which need not ask
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _outcome(units: Sequence[Unit], made: Sequence[Computed]) -> Outcome:
    norm = math.hypot(*(one.norm for one in made))
    lost = math.hypot(*(one.lost for one in made))
    worst = max(zip(units, made, strict=True), key=lambda pair: pair[1].error, default=None)
    error = worst[1].error if worst else 0.0
    return Outcome(
        lost / norm if norm else 0.0,
        worst[0].name if worst and error else None,
        error,
        sum(one.guarded for one in made),
    )


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    config, weights = checkpoint.digests.values()
    # The folder's own name, not its path: a published adapter should not tell where it was made.
    name = checkpoint.folder.resolve().name if checkpoint.folder == Path(checkpoint.name) else None
    return {
        "name": name or checkpoint.name,
        "sha256": {"config": config, "weights": weights},
    }
