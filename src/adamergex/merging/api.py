"""`adamergex.merge`: three checkpoints in, one adapter out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from adamergex.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    Dtype,
    NDArray,
    TensorInfo,
    card,
    check_output,
    numpy_dtype,
    open_checkpoint,
    staged,
    versions,
    write_json,
    write_tensors,
)
from adamergex.merging import lora, simple
from adamergex.merging.options import Ia3Rule, MergeOptions, Space
from adamergex.merging.three import Three, checked
from adamergex.merging.units import Computed, Unit, additive, kept

__all__ = ["Merged", "Outcome", "merge"]

_OUTLINES = {
    "LORA": lora.outline,
    "IA3": simple.ia3_outline,
    "PREFIX_TUNING": simple.prefix_outline,
}


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


class Merged:
    """A merge whose inputs are checked and whose tensors are computed when they are asked for.

    Attributes:
        three: The inputs.
        options: What was chosen.
        outline: What it comes to: space, dtype, rank.
    """

    def __init__(self, three: Three, options: MergeOptions) -> None:
        self.three = three
        self.options = options
        self.outline = _OUTLINES[three.task.config.peft_type](three, options)
        biases = additive(three, self.outline.dtype, options.scale)
        self._units: list[Unit] = [*self.outline.units, *biases, *kept(three.task)]

    @property
    def config(self) -> dict[str, object]:
        """The adapter_config.json of the result."""
        return self.three.task.config.written(**self.outline.changes)

    @property
    def tensor_infos(self) -> dict[str, TensorInfo]:
        """Tensor name -> shape and dtype of the result, known before anything is computed."""
        return {name: info for unit in self._units for name, info in unit.tensors.items()}

    def tensors(self) -> Iterator[tuple[str, NDArray]]:
        """The result's tensors in float32 or better, one module in memory at a time."""
        for unit in self._units:
            yield from unit.compute().values.items()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the merge does, before it is done: for people, --dry-run and --json."""
        ignored = {name for other in self.three.references for name in other.layout.whole}
        return {
            "structure": self.three.task.config.peft_type,
            "space": self.outline.space,
            "scale": self.options.scale,
            "rank": self.outline.rank,
            "exact": self.options.rank == "exact",
            "dtype": self.outline.dtype,
            "modules": len(self.outline.units),
            "bytes": sum(_size(info) for info in self.tensor_infos.values()),
            "kept_from_task": list(self.three.task.layout.whole),
            "ignored_in_references": sorted(ignored),
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> Outcome:
        """Computes the adapter and writes it as a PEFT folder, whole or not at all.

        Args:
            path: The folder to make.
            overwrite: Whether an adapter folder that is there may be replaced.

        Raises:
            InputError: The path may not be written; a tensor holds NaN or infinity, or does not fit
                the dtype it is to be stored in.
        """
        output = Path(path)
        check_output(output, overwrite=overwrite, inputs=[c.folder for c in self.three])
        tally = _Tally()
        with staged(output) as folder:
            values = (pair for unit in self._units for pair in tally.counted(unit))
            write_tensors(folder / WEIGHTS_FILE, self.tensor_infos, values)
            manifest = self._manifest(tally.outcome)
            write_json(folder / CONFIG_FILE, self.config)
            write_json(folder / MANIFEST_FILE, manifest)
            (folder / CARD_FILE).write_text(card(manifest, self.config), encoding="utf-8")
        return tally.outcome

    def _manifest(self, outcome: Outcome) -> dict[str, Any]:
        roles = ("task", "reference_target", "reference_source")
        return {
            "schema": 1,
            **self.summary,
            **outcome.facts,
            "inputs": dict(zip(roles, map(_provenance, self.three), strict=True)),
            "versions": versions(),
        }


def merge(
    *,
    task: str | Path,
    reference_target: str | Path,
    reference_source: str | Path,
    scale: float = 1.0,
    space: Space = "auto",
    rank: int | Literal["exact"] = "exact",
    dtype: Dtype | Literal["auto"] = "auto",
    ia3: Ia3Rule = "linear",
    allow_pickle: bool = False,
    allow_different_base: bool = False,
) -> Merged:
    """T ⊕ scale · (Rt ⊖ Rs): the task adapter, moved from the source to the target language.

    Everything that can be checked without reading a tensor is checked here; `Merged.save` computes.

    Args:
        task: T, a PEFT folder or Hub id: the target task, source language.
        reference_target: Rt: the reference task, target language.
        reference_source: Rs: the reference task, source language.
        scale: t.
        space: For LoRA, `weight` (exact) or `factor` (as published); `auto` is weight.
        rank: For LoRA in weight space, `exact` or the rank to approximate at.
        dtype: What to store in; `auto` is the inputs' own, float32 where that would round.
        ia3: For (IA)³, `linear` (as published) or `geometric`.
        allow_pickle: Whether adapter_model.bin may be read.
        allow_different_base: Whether the adapters may name different base models.

    Raises:
        InputError: An option, a file, a field or a tensor that is not right.
    """
    options = MergeOptions(scale, space, rank, dtype, ia3)
    opened = (
        open_checkpoint(source, allow_pickle=allow_pickle)
        for source in (task, reference_target, reference_source)
    )
    return Merged(checked(Three(*opened), allow_different_base=allow_different_base), options)


class _Tally:
    """Adds up, while tensors stream past, what each unit says of itself."""

    def __init__(self) -> None:
        self._lost: list[float] = []
        self._norm: list[float] = []
        self._worst: tuple[float, str | None] = (0.0, None)
        self._guarded = 0

    def counted(self, unit: Unit) -> Iterator[tuple[str, NDArray]]:
        made: Computed = unit.compute()
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


def _size(info: TensorInfo) -> int:
    return math.prod(info.shape) * numpy_dtype(info.dtype).itemsize
