"""`adamergex.merge`: three checkpoints in, one adapter out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from adamergex.checkpoint import Dtype, NDArray, TensorInfo, open_checkpoint
from adamergex.merging import lora, simple
from adamergex.merging.options import Ia3Rule, MergeOptions, Space
from adamergex.merging.saving import Outcome, save_adapter, served
from adamergex.merging.three import Three, checked
from adamergex.merging.units import Unit, additive, kept, renamings, written_config

__all__ = ["Merged", "merge"]

_OUTLINES = {
    "LORA": lora.outline,
    "IA3": simple.ia3_outline,
    "PREFIX_TUNING": simple.prefix_outline,
}


FORMULAS: Mapping[tuple[str, str], str] = {
    ("LORA", "weight"): "W = W_T + t (W_Rt - W_Rs), for the weight updates W",
    ("LORA", "factor"): "A = A_T + t (A_Rt - A_Rs), B = B_T + t (B_Rt - B_Rs)",
    ("IA3", "linear"): "l = l_T (t (l_Rt / l_Rs - 1) + 1)",
    ("IA3", "geometric"): "l = l_T (l_Rt / l_Rs)^t",
    ("PREFIX_TUNING", "pseudo-inverse"): "P = P_T + t (P_Rt - P_Rs) pinv(P_Rs) P_T",
    ("PREFIX_TUNING", "additive"): "P = P_T + t (P_Rt - P_T)",
}
"""(structure, space) -> what is computed, for the model card."""


class Merged:
    """A merge whose inputs are checked and whose tensors are computed when they are asked for.

    Attributes:
        three: The inputs.
        options: What was chosen.
        outline: What it comes to: space, dtype, rank.
    """

    def __init__(self, three: Three, options: MergeOptions) -> None:
        options.check_fit(three.task.config.peft_type)
        self.three = three
        self.options = options
        self.outline = _OUTLINES[three.task.config.peft_type](three, options)
        biases = additive(three, options.dtype, options.scale)
        self._units: list[Unit] = [*self.outline.units, *biases, *kept(three.task)]

    @cached_property
    def config(self) -> dict[str, object]:
        """The adapter_config.json of the result."""
        return written_config(self.three.task, self.outline)

    @cached_property
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
            "formula": FORMULAS[self.three.task.config.peft_type, self.outline.space],
            "scale": self.options.scale,
            "rank": self.outline.rank,
            **served(self.config, self.tensor_infos),
            "exact": self.options.rank == "exact",
            "dtype": self.outline.dtype,
            "modules": len(self.outline.units),
            "bytes": sum(info.nbytes for info in self.tensor_infos.values()),
            "renamed": renamings(self.three.roles),
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
        return save_adapter(
            Path(path),
            self._units,
            config=self.config,
            summary=self.summary,
            inputs=self.three.roles,
            overwrite=overwrite,
        )


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
