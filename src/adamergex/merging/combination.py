"""Other ways of combining adapters, that transfer methods are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adamergex.algebra import LowRank, wide
from adamergex.checkpoint import (
    Checkpoint,
    LoraConfig,
    NDArray,
    PrefixConfig,
    layer_of,
    open_checkpoint,
    widest,
)
from adamergex.errors import InputError
from adamergex.merging.lora import portable
from adamergex.merging.merged import Merged
from adamergex.merging.saving import Outcome
from adamergex.merging.simple import prefix_matrices
from adamergex.merging.sums import update
from adamergex.merging.three import check_pair
from adamergex.merging.units import Computed, Outline, kept, stored_dtype
from adamergex.merging.weights import combined, tensor_outline

__all__ = ["arimerge", "layer_swap", "weighted"]


@dataclass(frozen=True)
class _Rule:
    """How adapters become one.

    Attributes:
        name: What the manifest calls it.
        formula: What is computed, for the model card.
        scale: t.
        rank: The rank of a LoRA result.
        product: Module -> its LoRA product.
        tensor: Module and the roles' tensors there -> the result's, for other structures.
    """

    name: str
    formula: str
    scale: float
    rank: int
    product: Callable[[str], LowRank]
    tensor: Callable[[str, Sequence[NDArray]], NDArray]


def weighted(
    *,
    adapters: Mapping[str, Path],
    weights: Mapping[str, float],
    output: Path,
    rule: str = "weighted",
    scale: float = 1.0,
) -> Outcome:
    """Writes the weighted sum of adapters; see `combined`.

    Args:
        adapters: Role -> PEFT folder. The first gives the config and the weights saved whole.
        weights: Role -> its weight; all roles have one.
        output: The folder to make.
        rule: What the manifest calls it.
        scale: What the manifest says of t.

    Raises:
        InputError: Adapters that do not fit together, or are more than their structure's tensors.
    """
    roles = _opened(adapters)
    dtype = widest([stored_dtype(roles.values()), "float32"])
    return combined(roles, weights, rule=rule, dtype=dtype, facts={"scale": scale}).save(output)


def arimerge(
    *, task: Path, reference_target: Path, reference_source: Path, c0: float, output: Path
) -> Outcome:
    """Writes A = c0 A_T + c1 (A_Rt + A_Rs), B = c0 B_T + c1 (B_Rt - B_Rs), c1 = 1 - c0, of LoRA.

    Of (IA)³, from 1 on, c0 T + c1 (Rt - Rs). Source: arXiv 2306.14870, the analogy form, and its
    authors' code, which divides both coefficients by their sum. LoRA's scalings are folded into B
    first, and ranks must be equal, as in factor space. Prefixes are not in the publication; they
    are added as its (IA)³ vectors are.
    """
    adapters = {
        "task": task,
        "reference_target": reference_target,
        "reference_source": reference_source,
    }
    roles = _opened(adapters)
    c1 = 1 - c0
    if _structure(roles) != "LORA":
        weights = {"task": c0, "reference_target": c1, "reference_source": -c1}
        return weighted(
            adapters=adapters, weights=weights, output=output, rule="arimerge", scale=c1
        )
    ranks = {_rank(x, module) for x in roles.values() for module in x.layout.modules}
    if len(ranks) != 1:
        raise InputError("arimerge", "rank", found=sorted(ranks), needed="one rank")

    def product(module: str) -> LowRank:
        t, rt, rs = (update(x, module) for x in roles.values())
        b, a = ([wide(x) for x in xs] for xs in ((t.b, rt.b, rs.b), (t.a, rt.a, rs.a)))
        return LowRank(c0 * b[0] + c1 * (b[1] - b[2]), c0 * a[0] + c1 * (a[1] + a[2]))

    formula = "A = (1 - t) A_T + t (A_Rt + A_Rs), B = (1 - t) B_T + t (B_Rt - B_Rs)"
    rule = _Rule("arimerge", formula, c1, ranks.pop(), product, lambda _, parts: parts[0])
    return _saved(rule, roles, output)


def layer_swap(*, task: Path, reference_target: Path, scale: float, output: Path) -> Outcome:
    """Writes T with its outermost layers replaced by Rt's (arXiv 2410.01335).

    The publication takes whole fine-tuned models, and its border between the two may be gradual;
    here layers of adapters change hands one by one. What is outside the layers stays T's.

    Args:
        task: T.
        reference_target: Rt, the language expert.
        scale: The share of the layers that is Rt's, from 0 to 1: half of them at the bottom, half
            at the top, an odd one at the bottom.
        output: The folder to make.

    Raises:
        InputError: A share outside 0 to 1.
    """
    if not 0 <= scale <= 1:
        raise InputError("layer swap", "scale", found=scale, needed="0 to 1")
    roles = _opened({"task": task, "reference_target": reference_target})
    t, rt = roles.values()
    count = _layers(t)
    swapped = _outermost(count, round(scale * count))

    def product(module: str) -> LowRank:
        return update(rt if layer_of(module) in swapped else t, module)

    def tensor(module: str, parts: Sequence[NDArray]) -> NDArray:
        ours, theirs = parts
        if not isinstance(t.config, PrefixConfig):
            return theirs if layer_of(module) in swapped else ours
        mixed = prefix_matrices(ours, count).copy()
        for layer in swapped:
            keys_and_values = slice(2 * layer, 2 * layer + 2)
            mixed[keys_and_values] = prefix_matrices(theirs, count)[keys_and_values]
        return mixed.transpose(1, 0, 2).reshape(ours.shape)

    rank = max((_rank(x, m) for x in (t, rt) for m in x.layout.modules), default=0)
    formula = f"layers {', '.join(map(str, sorted(swapped))) or 'none'} of Rt, all others of T"
    return _saved(_Rule("layer-swap", formula, scale, rank, product, tensor), roles, output)


def _layers(checkpoint: Checkpoint) -> int:
    """How many layers the model has, as far as the adapter is attached to them."""
    if isinstance(checkpoint.config, PrefixConfig):
        return checkpoint.config.num_layers
    numbers = [layer_of(module) for module in checkpoint.layout.modules]
    return 1 + max((n for n in numbers if n is not None), default=-1)


def _outermost(layers: int, count: int) -> set[int]:
    top = count // 2
    return {*range(count - top), *range(layers - top, layers)}


def _structure(roles: Mapping[str, Checkpoint]) -> str:
    return next(iter(roles.values())).config.peft_type


def _rank(checkpoint: Checkpoint, module: str) -> int:
    return checkpoint.shape(module, "a")[0] if _is_lora(checkpoint) else 0


def _is_lora(checkpoint: Checkpoint) -> bool:
    return isinstance(checkpoint.config, LoraConfig)


def _opened(folders: Mapping[str, Path]) -> dict[str, Checkpoint]:
    roles = {role: open_checkpoint(folder) for role, folder in folders.items()}
    task, *others = roles.values()
    for other in others:
        check_pair(task, other)
    for checkpoint in roles.values():
        config = checkpoint.config
        if isinstance(config, LoraConfig) and (config.use_dora or config.lora_bias):
            raise InputError(checkpoint.name, found=config.peft_type, needed="plain LoRA")
        if checkpoint.layout.biases:
            raise InputError(checkpoint.name, "bias", found="trained", needed="none")
    return roles


def _saved(rule: _Rule, roles: Mapping[str, Checkpoint], output: Path) -> Outcome:
    task = next(iter(roles.values()))
    outline = _lora_outline(rule, roles) if _is_lora(task) else _other_outline(rule, roles)
    facts = {"formula": rule.formula, "scale": rule.scale}
    return Merged(roles, outline, kept(task), facts).save(output)


def _lora_outline(rule: _Rule, roles: Mapping[str, Checkpoint]) -> Outline:
    def parts(module: str) -> Computed:
        made = rule.product(module).padded(rule.rank)
        return Computed({"a": made.a, "b": made.b})

    dtype = widest([stored_dtype(roles.values()), "float32"])
    return portable(next(iter(roles.values())), rule.name, rule.rank, dtype, parts)


def _other_outline(rule: _Rule, roles: Mapping[str, Checkpoint]) -> Outline:
    dtype = widest([stored_dtype(roles.values()), "float32"])
    return tensor_outline(rule.name, roles.values(), dtype, rule.tensor)
