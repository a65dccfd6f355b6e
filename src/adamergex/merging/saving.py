"""Computing units one by one and writing them as an adapter folder."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
    card,
    check_output,
    staged,
    stored,
    versions,
    write_json,
    write_tensors,
)
from adamergex.merging.units import Computed, Unit

__all__ = ["Outcome", "save_adapter"]

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
    tally = _Tally()
    infos = {name: info for unit in units for name, info in unit.tensors.items()}
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with staged(output) as folder:
        with _one_blas_thread(), ThreadPoolExecutor(threads) as pool:
            provenance = pool.map(_provenance, inputs.values())
            finished = _computed(pool, units, ahead=2 * threads)
            values = (pair for unit, made in finished for pair in tally.counted(unit, made))
            write_tensors(folder / WEIGHTS_FILE, infos, values)
        manifest = {
            "schema": 1,
            **summary,
            **tally.outcome.facts,
            "inputs": dict(zip(inputs, provenance, strict=True)),
            "versions": versions(),
        }
        write_json(folder / CONFIG_FILE, config)
        write_json(folder / MANIFEST_FILE, manifest)
        (folder / CARD_FILE).write_text(card(manifest, config), encoding="utf-8")
    return tally.outcome


def _computed(
    pool: ThreadPoolExecutor, units: Sequence[Unit], ahead: int
) -> Iterator[tuple[Unit, Computed]]:
    """Units with their tensors as they are to be stored, in order; at most `ahead` wait."""

    def computed(unit: Unit) -> Computed:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows `stored` refuses
            made = unit.compute()
        values = {name: stored(name, x, unit.tensors[name]) for name, x in made.values.items()}
        return replace(made, values=values)

    begun: deque[tuple[Unit, Future[Computed]]] = deque()
    for unit in units:
        begun.append((unit, pool.submit(computed, unit)))
        if len(begun) > ahead:
            first, future = begun.popleft()
            yield first, future.result()
    for unit, future in begun:
        yield unit, future.result()


def _one_blas_thread() -> Any:
    """On tall, thin factors more threads gain little; on busy processors they wait in vain."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


class _Tally:
    """Adds up, while tensors stream past, what each unit says of itself."""

    def __init__(self) -> None:
        self._lost: list[float] = []
        self._norm: list[float] = []
        self._worst: tuple[float, str | None] = (0.0, None)
        self._guarded = 0

    def counted(self, unit: Unit, made: Computed) -> Iterator[tuple[str, NDArray]]:
        self._lost.append(made.lost)
        self._norm.append(made.norm)
        self._worst = max(self._worst, (made.error, unit.name), key=lambda pair: pair[0])
        self._guarded += made.guarded
        yield from made.values.items()

    @property
    def outcome(self) -> Outcome:
        norm = math.hypot(*self._norm)
        error = math.hypot(*self._lost) / norm if norm else 0.0
        worst_error, worst = self._worst
        return Outcome(error, worst, worst_error, self._guarded)


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    config, weights = checkpoint.digests.values()
    # The folder's own name, not its path: a published adapter should not tell where it was made.
    name = checkpoint.folder.resolve().name if checkpoint.folder == Path(checkpoint.name) else None
    return {
        "name": name or checkpoint.name,
        "sha256": {"config": config, "weights": weights},
    }
