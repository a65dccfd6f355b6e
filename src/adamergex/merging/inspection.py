"""What one adapter is, and how several lie to each other, without merging anything."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamergex.algebra import LowRank, inner
from adamergex.checkpoint import Checkpoint, LoraConfig, NDArray, PrefixConfig, layer_of
from adamergex.errors import InputError
from adamergex.merging.api import merged_three
from adamergex.merging.options import MergeOptions
from adamergex.merging.simple import prefix_matrices
from adamergex.merging.sums import update
from adamergex.merging.three import Three, check_pair

__all__ = ["Gram", "compared", "described", "gram"]

Update = LowRank | NDArray
"""What one module changes: a LoRA product, an (IA)³ vector minus 1, a prefix."""


def described(checkpoint: Checkpoint) -> dict[str, Any]:
    """One adapter: structure, base model, ranks, scalings, modules, dtypes, size, norm."""
    config, modules = checkpoint.config, checkpoint.layout.modules
    facts: dict[str, Any] = {
        "name": checkpoint.name,
        "structure": config.peft_type,
        "base_model": config.base_model_name_or_path,
        "modules": len(modules),
        "kinds": sorted({module.rsplit(".", 1)[-1] for module in modules}),
        "layers": len({layer_of(m) for m in modules} - {None}),
        "dtypes": sorted(
            {checkpoint.tensors[n].dtype for p in modules.values() for n in p.values()}
        ),
        "parameters": sum(
            math.prod(checkpoint.tensors[n].shape) for p in modules.values() for n in p.values()
        ),
        "saved_whole": list(checkpoint.layout.whole),
        "trained_biases": len(checkpoint.layout.biases),
    }
    if checkpoint.layout.renamed:
        facts["tensor_names"] = list(checkpoint.layout.renamed)
    if isinstance(config, LoraConfig):
        facts["ranks"] = sorted({checkpoint.shape(m, "a")[0] for m in modules})
        facts["scalings"] = sorted({checkpoint.scaling(m) for m in modules})
        facts["variant"] = "DoRA" if config.use_dora else "rsLoRA" if config.use_rslora else "LoRA"
    if isinstance(config, PrefixConfig):
        facts["virtual_tokens"] = config.num_virtual_tokens
    facts["norm"] = math.sqrt(sum(_inner(u, u) for u in (_update(checkpoint, m) for m in modules)))
    return facts


def compared(
    checkpoints: Sequence[Checkpoint], *, allow_different_base: bool = False
) -> dict[str, Any]:
    """Two or more adapters: whether they fit together, and the angles and sizes of their updates.

    Three are taken as T, Rt, Rs, the order of `adamergex merge`, and the divergence Rt - Rs is
    compared with T: a size far above 1 means that a scale near 1 would drown the task.

    Returns:
        compatible; problem (why not); cosine and norm_ratio overall and by layer, of each pair and,
        with three, of Rt - Rs against T; merge (what `adamergex merge` would make).
    """
    first = checkpoints[0]
    try:
        for other in checkpoints[1:]:
            check_pair(first, other, allow_different_base=allow_different_base)
    except InputError as error:
        return {"compatible": False, "problem": str(error)}
    table = gram(checkpoints)
    facts: dict[str, Any] = {"compatible": True, "pairs": []}
    unit = np.eye(len(checkpoints))
    for i in range(len(checkpoints)):
        for j in range(i + 1, len(checkpoints)):
            names = f"{checkpoints[i].name} ~ {checkpoints[j].name}"
            facts["pairs"].append({"pair": names, **table.relation(unit[i], unit[j])})
    if len(checkpoints) == 3:
        facts["divergence_to_task"] = table.relation(unit[1] - unit[2], unit[0])
        facts["merge"] = merged_three(Three(*checkpoints), MergeOptions()).summary
    return facts


@dataclass(frozen=True)
class Gram:
    """Inner products of the updates of several adapters, layer by layer.

    From it follow norms and cosines of every linear combination of the adapters, without going back
    to the files.

    Attributes:
        layers: Layer number -> (n, n) inner products, summed over the layer's modules. Modules
            outside the layers are under -1.
    """

    layers: dict[int, NDArray]

    def relation(self, x: NDArray, y: NDArray) -> dict[str, Any]:
        """How combination `x` lies to combination `y` (weights of the adapters, (n,) each).

        Returns:
            cosine and norm_ratio (|x| / |y|), overall and by layer; None where a norm is 0.
        """
        whole = np.sum(list(self.layers.values()), axis=0)
        return {
            **_relation(whole, x, y),
            "by_layer": [
                {"layer": layer, **_relation(table, x, y)}
                for layer, table in sorted(self.layers.items())
            ],
        }


def gram(checkpoints: Sequence[Checkpoint]) -> Gram:
    """The Gram matrices of adapters that fit together. Reads every tensor once."""
    layers: dict[int, NDArray] = defaultdict(lambda: np.zeros((len(checkpoints),) * 2))
    for module in checkpoints[0].layout.modules:
        updates = [_update(c, module) for c in checkpoints]
        if checkpoints[0].config.peft_type == "PREFIX_TUNING":
            config = checkpoints[0].config
            assert isinstance(config, PrefixConfig)
            matrices = [prefix_matrices(np.asarray(u), config.num_layers) for u in updates]
            for block in range(2 * config.num_layers):
                layers[block // 2] += _products([m[block] for m in matrices])
        else:
            layer = layer_of(module)
            layers[-1 if layer is None else layer] += _products(updates)
    return Gram(dict(layers))


def _products(updates: Sequence[Update]) -> NDArray:
    return np.array([[_inner(x, y) for y in updates] for x in updates])


def _relation(table: NDArray, x: NDArray, y: NDArray) -> dict[str, float | None]:
    xx, yy, xy = (float(u @ table @ v) for u, v in ((x, x), (y, y), (x, y)))
    norm_x, norm_y = math.sqrt(max(xx, 0.0)), math.sqrt(max(yy, 0.0))
    return {
        "cosine": xy / (norm_x * norm_y) if norm_x and norm_y else None,
        "norm_ratio": norm_x / norm_y if norm_y else None,
    }


def _update(checkpoint: Checkpoint, module: str) -> Update:
    if isinstance(checkpoint.config, LoraConfig):
        product = update(checkpoint, module)
        return LowRank(product.b.astype(np.float64), product.a.astype(np.float64))
    (name,) = checkpoint.layout.modules[module].values()
    value = checkpoint.read(name).astype(np.float64)
    return value - 1.0 if checkpoint.config.peft_type == "IA3" else value


def _inner(x: Update, y: Update) -> float:
    if isinstance(x, LowRank) and isinstance(y, LowRank):
        return inner(x, y)
    return float(np.vdot(np.asarray(x), np.asarray(y)))
