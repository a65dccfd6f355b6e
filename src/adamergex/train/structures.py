"""Adapters on their backbone, to be trained: fresh ones by their description, and others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PrefixTuningConfig, get_peft_model
from torch import distributed
from transformers import set_seed

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from adamergex.models import Backbone
from adamergex.models.landing import fits, land, remember

__all__ = ["adapter_config", "continued", "initialised", "save", "untrained", "wrapped"]

_CONFIGS = {"lora": LoraConfig, "ia3": IA3Config, "prefix": PrefixTuningConfig}
_IA3 = (
    # Where PEFT's own table lacks a model: keys, values, and what goes into the second feed-forward
    # layer, as (IA)³ scales them (arXiv 2205.05638). The last is the feed-forward one.
    ("k_proj", "v_proj", "down_proj"),
    ("key", "value", "output.dense"),
    ("k", "v", "wo"),
)


def adapter_config(adapter: Mapping[str, Any], backbone: Backbone) -> Any:
    """PEFT's config of an adapter description: `type`, and PEFT's own names for the rest.

    Raises:
        InputError: A type or a field that there is not.
    """
    fields = dict(adapter)
    kind = fields.pop("type")
    if kind not in _CONFIGS:
        raise InputError("adapter", "type", found=kind, needed=" or ".join(_CONFIGS))
    if backbone.family == "encoder" and fields.get("target_modules") == "all-linear":
        fields["target_modules"] = _body_linear(backbone.model)
    if kind == "ia3" and "target_modules" not in fields:
        modules = _ia3_modules(backbone.model)
        fields |= {"target_modules": list(modules), "feedforward_modules": [modules[-1]]}
    try:
        return _CONFIGS[kind](task_type=_task_type(backbone), **fields)
    except TypeError as error:
        raise InputError("adapter", found=str(error), needed=f"fields of PEFT's {kind}") from None


def initialised(backbone: Backbone, adapter: Mapping[str, Any], seed: int) -> tuple[Any, str]:
    """A fresh adapter on the backbone, and the SHA-256 of its first values.

    The same seed gives the same values whatever was computed before. T, Rs and Rt must start from
    one point: otherwise Rt - Rs is mostly the difference of two random initialisations. A task head
    is not part of it: references have none.
    """
    config = adapter_config(adapter, backbone)
    set_seed(seed)
    model = wrapped(backbone, config)
    whole = sorted(getattr(config, "target_parameters", None) or ())
    if whole:  # into which PEFT turns the names of linear layers that are experts
        backbone.restored(model)
        needed = "none, which cannot be merged: name the target_modules, those of attention only"
        raise InputError("adapter", "target_parameters", found=", ".join(whole), needed=needed)
    if backbone.family == "decoder":
        backbone.check_head(model)
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        if value.requires_grad and "modules_to_save" not in name:
            digest.update(name.encode())
            digest.update(value.detach().cpu().numpy().tobytes())
    return model, digest.hexdigest()


def continued(backbone: Backbone, start: Path) -> Any:
    """The base with a saved adapter on it to be trained on; PEFT's own way refuses a prefix.

    Raises:
        InputError: It was made for another model, or lacks a tensor.
    """
    checkpoint = open_checkpoint(start)
    fits(backbone.model, checkpoint)
    config = PeftConfig.from_pretrained(str(start))
    config.inference_mode = False
    model = wrapped(backbone, config)
    try:
        missing = land(model, checkpoint)
        if missing:
            needed = "it, as the config has an adapter there"
            raise InputError(start, missing[0], found="no such tensor", needed=needed)
    except InputError:
        backbone.restored(model)
        raise
    return model


def wrapped(backbone: Backbone, config: Any) -> Any:
    """The base with an adapter on it to be trained; `Backbone.restored` undoes it.

    With `bias` the base's own biases are trained in place.

    Raises:
        InputError: One of them is the output layer's, which losses take as it is.
    """
    own = list(backbone.model.parameters())
    model = get_peft_model(backbone.model, config)
    remember(model, (weight for weight in own if weight.requires_grad))
    bias = getattr(backbone.model.get_output_embeddings(), "bias", None)
    if backbone.family != "encoder" and bias is not None and bias.requires_grad:
        backbone.restored(model)
        needed = "layers below the output layer, which has one here"
        raise InputError("adapter", "bias", found=config.bias, needed=needed)
    return model


def untrained(backbone: Backbone, adapter: Mapping[str, Any], seed: int, output: Path) -> str:
    """Saves the adapter that a training with that seed begins with, as a PEFT folder.

    Returns:
        The SHA-256 of its values; see `initialised`.
    """
    model, start = initialised(backbone, adapter, seed)
    try:
        save(model, output)
    finally:
        backbone.restored(model)
    return start


def save(model: Any, output: Path) -> None:
    """Saves an adapter as a PEFT folder, the same to the byte every time.

    PEFT holds names of modules in sets, whose order is another in each process. Of processes that
    share a training the first one writes.
    """
    if distributed.is_initialized() and distributed.get_rank() != 0:
        return
    config = model.peft_config[model.active_adapter]
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))
    model.save_pretrained(output)


def _task_type(backbone: Backbone) -> str:
    if backbone.family == "decoder":
        return "CAUSAL_LM"
    if backbone.family == "encoder-decoder":
        return "SEQ_2_SEQ_LM"
    classifies = type(backbone.model).__name__.endswith("ForSequenceClassification")
    return "SEQ_CLS" if classifies else "FEATURE_EXTRACTION"


def _body_linear(model: Any) -> str:
    """A regular expression for the linear layers of an encoder's body.

    PEFT's own `all-linear` takes part of the head in, and T's head is another than a reference's.
    """
    prefix = model.base_model_prefix
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and re.match(rf"{prefix}\..*\.\d+\.", name)
    }
    return rf"{prefix}\..*\.\d+\..*({'|'.join(sorted(names))})"


def _ia3_modules(model: Any) -> tuple[str, ...]:
    names = [name for name, _ in model.named_modules()]
    for modules in _IA3:
        if all(any(name.endswith(f".{module}") for name in names) for module in modules):
            return modules
    needed = "target_modules and feedforward_modules: this model's are not known"
    raise InputError("adapter", "target_modules", found="none", needed=needed)
