"""What an adapter makes of the base model's own tensors, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adamergex.algebra import wide
from adamergex.checkpoint import Checkpoint, LoraConfig, NDArray, TensorInfo, model_module
from adamergex.errors import InputError
from adamergex.merging import update

__all__ = ["Change", "changes"]

Change = Callable[[NDArray], NDArray]
"""A tensor of the base, in float32 or better -> what takes its place."""


def changes(
    checkpoint: Checkpoint, base: Mapping[str, TensorInfo], config: Mapping[str, Any]
) -> dict[str, Change]:
    """The base's tensors that an adapter changes. Each tensor of the adapter finds its place.

    Args:
        checkpoint: LoRA, DoRA or (IA)³.
        base: The tensors of the base model.
        config: Its config.json.

    Raises:
        InputError: A structure that is no change of weights; a module, a bias or a head that the
            base has not, or not of that shape; LoRA on embeddings that the output layer shares.
    """
    structure = checkpoint.config.peft_type
    if structure not in ("LORA", "IA3"):
        needed = "LORA or IA3: a prefix is no change of weights"
        raise InputError(checkpoint.name, "peft_type", found=structure, needed=needed)
    made: dict[str, Change] = {}
    for module in checkpoint.layout.modules:
        _check_untied(checkpoint, module, config)
        weight = _place(checkpoint, module, f"{model_module(module)}.weight", base)
        bias = weight.removesuffix("weight") + "bias"
        if structure == "IA3":
            made[weight] = _rescaled(checkpoint, module, base[weight])
            if _per_output(checkpoint, module) and bias in base:
                made[bias] = _bias_rescaled(checkpoint, module)
            continue
        made[weight] = _updated(checkpoint, module, base[weight])
        if "bias" in checkpoint.layout.modules[module]:
            place = _place(checkpoint, module, bias, base)
            made[place] = _bias_updated(checkpoint, module)
    for name in (*checkpoint.layout.biases, *checkpoint.layout.whole):
        own = model_module(name).replace(".base_layer.", ".")
        place = _place(checkpoint, name, own, base)
        found, needed = checkpoint.tensors[name].shape, base[place].shape
        if found != needed:
            raise InputError(checkpoint.name, name, found=found, needed=f"{needed}, as the base")
        change = made.get(place)
        made[place] = _replaced(checkpoint, name, change)
    return made


def _place(checkpoint: Checkpoint, what: str, name: str, base: Mapping[str, TensorInfo]) -> str:
    """The base's own name of a tensor: some files leave out the first part, the body's name."""
    for candidate in (name, name.partition(".")[2]):
        if candidate in base:
            return candidate
    needed = f"{name}, as a tensor of its own"
    raise InputError(checkpoint.name, what, found="no such tensor in the base model", needed=needed)


def _is_embedding(checkpoint: Checkpoint, module: str) -> bool:
    return any("lora_embedding" in name for name in checkpoint.layout.modules[module].values())


def _check_untied(checkpoint: Checkpoint, module: str, config: Mapping[str, Any]) -> None:
    if _is_embedding(checkpoint, module) and config.get("tie_word_embeddings", True):
        needed = "an output layer of its own: folding this in would change both"
        found = "LoRA on embeddings that the output layer shares"
        raise InputError(checkpoint.name, module, found=found, needed=needed)


def _updated(checkpoint: Checkpoint, module: str, info: TensorInfo) -> Change:
    """W + s B A; of DoRA m (W + s B A) / |W + s B A|, the norm of each output's row."""
    config = checkpoint.config
    assert isinstance(config, LoraConfig)
    embedding, dora = _is_embedding(checkpoint, module), config.use_dora
    if dora and (embedding or len(info.shape) != 2):
        needed = "DoRA on linear layers"
        raise InputError(checkpoint.name, module, found="DoRA on another", needed=needed)
    turned = embedding or config.fan_in_fan_out
    out, inside = (info.shape[0], int(np.prod(info.shape[1:])))
    shape = (inside, out) if turned else (out, inside)
    product = checkpoint.shape(module, "b")[0], int(np.prod(checkpoint.shape(module, "a")[1:]))
    if product != shape:
        needed = f"{shape}, as the base's {info.shape}"
        raise InputError(checkpoint.name, module, found=product, needed=needed)

    def change(weight: NDArray) -> NDArray:
        delta = update(checkpoint, module).dense()
        matrix = weight.reshape(out, inside)
        matrix = (matrix.T if turned else matrix) + delta
        if dora:
            magnitude = wide(checkpoint.part(module, "magnitude")).reshape(-1, 1)
            matrix = magnitude * (matrix / np.linalg.norm(matrix, axis=1, keepdims=True))
        return (matrix.T if turned else matrix).reshape(weight.shape)

    return change


def _per_output(checkpoint: Checkpoint, module: str) -> bool:
    return checkpoint.shape(module, "vector")[0] != 1


def _rescaled(checkpoint: Checkpoint, module: str, info: TensorInfo) -> Change:
    """L ⊙ W, by outputs, or for (1, in) vectors by inputs."""
    vector = checkpoint.shape(module, "vector")
    turned = bool(getattr(checkpoint.config, "fan_in_fan_out", False))
    needed = info.shape[::-1] if turned else info.shape
    fits = len(needed) == len(vector) == 2 and all(
        v in (1, n) for v, n in zip(vector, needed, strict=True)
    )
    if not fits:
        raise InputError(checkpoint.name, module, found=vector, needed=f"a factor of {needed}")

    def change(weight: NDArray) -> NDArray:
        factor = wide(checkpoint.part(module, "vector"))
        return weight * (factor.T if turned else factor)

    return change


def _bias_rescaled(checkpoint: Checkpoint, module: str) -> Change:
    return lambda bias: bias * wide(checkpoint.part(module, "vector")).reshape(bias.shape)


def _bias_updated(checkpoint: Checkpoint, module: str) -> Change:
    def change(bias: NDArray) -> NDArray:
        return bias + checkpoint.scaling(module) * wide(checkpoint.part(module, "bias"))

    return change


def _replaced(checkpoint: Checkpoint, name: str, then: Change | None) -> Change:
    """The adapter's own copy in the base's place, and what else changes it."""

    def change(_: NDArray) -> NDArray:
        own = wide(checkpoint.read(name))
        return then(own) if then else own

    return change
