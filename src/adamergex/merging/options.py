"""What a user may choose about a merge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from adamergex.checkpoint import Dtype
from adamergex.errors import InputError

__all__ = ["Ia3Rule", "MergeOptions", "Space"]

Space: TypeAlias = Literal["auto", "factor", "weight"]
Ia3Rule: TypeAlias = Literal["linear", "geometric"]


@dataclass(frozen=True)
class MergeOptions:
    """Choices of a merge, checked when made.

    Attributes:
        scale: t, any finite number.
        space: For LoRA: `weight` adds the weight updates, exactly; `factor` adds the factors A and
            B, as published. `auto` is weight. Other structures have but one space.
        rank: For LoRA in weight space: `exact`, or the rank to approximate the sum at.
        dtype: What the merged tensors are stored in. `auto` is the inputs' type, or float32 where
            that type would round an exact result.
        ia3: For (IA)³: `linear`, as published, or `geometric`.
    """

    scale: float = 1.0
    space: Space = "auto"
    rank: int | Literal["exact"] = "exact"
    dtype: Dtype | Literal["auto"] = "auto"
    ia3: Ia3Rule = "linear"

    def __post_init__(self) -> None:
        scale: object = self.scale
        if (
            isinstance(scale, bool)
            or not isinstance(scale, int | float)
            or not math.isfinite(scale)
        ):
            raise InputError("scale", found=scale, needed="a finite number")
        rank: object = self.rank
        if rank != "exact" and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
            raise InputError("rank", found=rank, needed="exact, or a whole number from 1 up")
        choices = {"space": Space, "ia3": Ia3Rule, "dtype": Dtype}
        for field, literal in choices.items():
            allowed = get_args(literal) + (("auto",) if field == "dtype" else ())
            if getattr(self, field) not in allowed:
                raise InputError(field, found=getattr(self, field), needed=" or ".join(allowed))
        if self.space == "factor" and rank != "exact":
            raise InputError(
                "rank", found=rank, needed="exact: factor space keeps the inputs' rank"
            )

    def check_fit(self, structure: str) -> None:
        """Raises InputError where an option is set that this structure has no use for."""
        fit = {"LORA": ("space", "rank"), "IA3": ("ia3",)}.get(structure, ())
        for field in ("space", "rank", "ia3"):
            chosen, default = getattr(self, field), getattr(MergeOptions(), field)
            if field not in fit and chosen != default:
                raise InputError(field, found=chosen, needed=f"{default}, for {structure}")
