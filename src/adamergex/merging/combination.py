"""Other ways of combining LoRA adapters, that transfer methods are compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adamergex.algebra import LowRank, concatenated
from adamergex.checkpoint import Checkpoint, LoraConfig, NDArray, open_checkpoint, widest
from adamergex.errors import InputError
from adamergex.merging.lora import portable, update
from adamergex.merging.saving import Outcome, save_adapter
from adamergex.merging.three import check_pair
from adamergex.merging.units import Computed, kept, stored_dtype

__all__ = ["add", "arimerge"]

_FORMULAS = {
    "add": "W = W_T + t W_Rt, for the weight updates W",
    "arimerge": "A = A_T + t (A_Rt + A_Rs), B = B_T + t (B_Rt - B_Rs)",
}


def add(*, task: Path, reference_target: Path, scale: float, output: Path) -> Outcome:
    """Writes T + scale Rt, in weight space and exact: adapters of any rank."""
    roles = _opened({"task": task, "reference_target": reference_target})
    t, rt = roles.values()
    rank = max(t.shape(m, "a")[0] + rt.shape(m, "a")[0] for m in t.layout.modules)

    def product(module: str) -> LowRank:
        return concatenated(update(t, module), update(rt, module).times(scale)).padded(rank)

    return _saved("add", roles, rank, product, scale, output)


def arimerge(
    *, task: Path, reference_target: Path, reference_source: Path, c: float, output: Path
) -> Outcome:
    """Writes A = A_T + c (A_Rt + A_Rs), B = B_T + c (B_Rt - B_Rs).

    Source: arXiv 2306.14870, the analogy form, with T's coefficient 1. The scalings are folded into
    B first, and ranks must be equal, as in factor space.
    """
    roles = _opened(
        {
            "task": task,
            "reference_target": reference_target,
            "reference_source": reference_source,
        }
    )
    ranks = {x.shape(m, "a")[0] for x in roles.values() for m in x.layout.modules}
    if len(ranks) != 1:
        raise InputError("arimerge", "rank", found=sorted(ranks), needed="one rank")

    def product(module: str) -> LowRank:
        t, rt, rs = (update(x, module) for x in roles.values())
        return LowRank(t.b + c * (rt.b - rs.b), t.a + c * (rt.a + rs.a))

    return _saved("arimerge", roles, ranks.pop(), product, c, output)


def _opened(folders: dict[str, Path]) -> dict[str, Checkpoint]:
    roles = {role: open_checkpoint(folder) for role, folder in folders.items()}
    task, *references = roles.values()
    for other in references:
        check_pair(task, other)
    for checkpoint in roles.values():
        config = checkpoint.config
        if not isinstance(config, LoraConfig) or config.use_dora or config.lora_bias:
            raise InputError(checkpoint.name, found=config.peft_type, needed="plain LoRA")
        if checkpoint.layout.biases:
            raise InputError(checkpoint.name, "bias", found=config.bias, needed="none")
    return roles


def _saved(
    rule: str,
    roles: dict[str, Checkpoint],
    rank: int,
    product: Callable[[str], LowRank],
    scale: float,
    output: Path,
) -> Outcome:
    def parts(module: str) -> Computed:
        made = product(module)
        values: dict[str, NDArray] = {"a": made.a, "b": made.b}
        return Computed(values)

    task = roles["task"]
    dtype = widest([stored_dtype(roles.values()), "float32"])
    outline = portable(task, rule, rank, dtype, parts)
    config = task.config.written(**outline.changes)
    summary = {
        "structure": task.config.peft_type,
        "space": rule,
        "formula": _FORMULAS[rule],
        "scale": scale,
        "rank": rank,
        "dtype": outline.dtype,
    }
    units = [*outline.units, *kept(task)]
    return save_adapter(output, units, config=config, summary=summary, inputs=roles)
