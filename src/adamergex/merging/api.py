"""`adamergex.merge`: three checkpoints in, one adapter out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from adamergex.checkpoint import Dtype, open_checkpoint
from adamergex.merging import lora, simple
from adamergex.merging.merged import Merged
from adamergex.merging.options import Ia3Rule, MergeOptions, Space
from adamergex.merging.three import Three, checked
from adamergex.merging.units import additive, kept

__all__ = ["Merged", "merge", "merged_three"]

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


def merged_three(three: Three, options: MergeOptions, base_model: str | None = None) -> Merged:
    """What three checkpoints that fit together come to."""
    structure = three.task.config.peft_type
    options.check_fit(structure)
    outline = _OUTLINES[structure](three, options)
    others = [*additive(three, options.dtype, options.scale), *kept(three.task)]
    facts = {"formula": FORMULAS[structure, outline.space], "scale": options.scale}
    return Merged(three.roles, outline, others, facts, base_model)


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
    base_model: str | None = None,
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
        base_model: What the result's config calls the base: its id on the Hub, org/name or
            org/name@revision. By default what T's has.

    Raises:
        InputError: An option, a file, a field or a tensor that is not right.
    """
    options = MergeOptions(scale, space, rank, dtype, ia3)
    opened = (
        open_checkpoint(source, allow_pickle=allow_pickle)
        for source in (task, reference_target, reference_source)
    )
    three = checked(Three(*opened), allow_different_base=allow_different_base)
    return merged_three(three, options, base_model)
