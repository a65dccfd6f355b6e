"""Adapters put on a model tensor by tensor: one that finds no place there is an error.

PEFT leaves out what does not fit by name, with no more than a warning, and the model answers as the
base does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper, set_peft_model_state_dict
from torch import Tensor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.pytorch_utils import Conv1D

from adamergex.algebra import wide
from adamergex.checkpoint import (
    Checkpoint,
    LoraConfig,
    PrefixConfig,
    model_module,
    named_targets,
)
from adamergex.errors import InputError
from adamergex.merging import update

__all__ = ["attached", "changes_nothing", "fits", "land", "nearest", "put_back", "remember"]

_PREFIX = "base_model.model."
_MISMATCH = re.compile(r"size mismatch for (\S+): .*?Size\(\[(.*?)\]\).*?Size\(\[(.*?)\]\)")
_PROMPT = "prompt_embeddings"
_OWN: WeakKeyDictionary[Any, list[tuple[Tensor, Tensor]]] = WeakKeyDictionary()
"""A model with an adapter -> weights of its base, and what they were before."""


def nearest(name: str, names: Iterable[str]) -> str:
    """For a message: which of `names` is most like one that is not among them."""
    (found,) = get_close_matches(name, names, 1, 0.0) or [""]
    return f"; the nearest is {found}" if found else ""


def fits(model: Any, checkpoint: Checkpoint) -> bool:
    """Whether the base has every module that an adapter is for.

    Raises:
        InputError: It lacks one, and is no model whose modules were renamed since: where it is,
            PEFT has to try.
    """
    if isinstance(checkpoint.config, PrefixConfig):
        return True
    names = dict(model.named_modules()).keys()
    lacking = next((m for m in checkpoint.layout.modules if model_module(m) not in names), None)
    if lacking is None:
        return True
    if get_checkpoint_conversion_mapping(model.config.model_type) is None:
        needed = f"a module of the base model{nearest(model_module(lacking), names)}"
        raise InputError(checkpoint.name, found=lacking, needed=needed)
    return False


def attached(model: Any, checkpoint: Checkpoint) -> PeftModel:
    """The model with room for an adapter where the adapter has tensors, and nowhere else.

    Raises:
        InputError: PEFT has no room for it on this model.
    """
    config: Any = PeftConfig.from_pretrained(str(checkpoint.folder))
    config.inference_mode = True
    for field in ("init_lora_weights", "init_ia3_weights"):
        if hasattr(config, field):  # without effect where there are no tensors to load
            setattr(config, field, True)
    if fits(model, checkpoint) and not isinstance(checkpoint.config, PrefixConfig):
        # Not what the config says: a pattern from outside may take PEFT years to match.
        for field, value in named_targets(checkpoint).items():
            setattr(config, field, value if value is None else set(value))
    made: Any = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)
    try:
        return made(model, config, "default").eval()
    except Exception as error:  # of many kinds
        _cleared(model)
        found = f"{type(error).__name__}: {error}".partition("\n")[0]
        needed = "an adapter that PEFT can put on this model"
        raise InputError(checkpoint.name, found=found, needed=needed) from error


def remember(wrapped: Any, weights: Iterable[Tensor]) -> None:
    """Keeps copies of weights of the base model, for `put_back` to undo what an adapter does.

    An adapter with biases or embeddings of the base model has its own values written over them,
    and a training changes them in place.
    """
    _OWN.setdefault(wrapped, []).extend((x, x.detach().clone()) for x in weights)


def put_back(wrapped: Any) -> None:
    """Gives the base model back the weights that were remembered of it."""
    for weight, before in reversed(_OWN.pop(wrapped, [])):
        weight.data.copy_(before)


def land(wrapped: Any, checkpoint: Checkpoint) -> list[str]:
    """Loads an adapter's tensors, all of them; what they are written over is remembered.

    Returns:
        Tensors of the model's adapter that the file has not: they are as PEFT begins them.

    Raises:
        InputError: One that has no place in the model, or another shape than its place; a module
            that is saved whole and is not there.
    """
    tensors = {name: torch.from_numpy(wide(checkpoint.read(name))) for name in checkpoint.tensors}
    file, own = checkpoint.weights, dict(wrapped.named_parameters(remove_duplicate=False))
    over = (*checkpoint.layout.biases, *checkpoint.layout.whole)
    remember(wrapped, (own[name] for name in over if name in own))
    try:
        found = set_peft_model_state_dict(wrapped, tensors)
    except KeyError as error:
        needed = "it: its module is saved whole"
        raise InputError(file, error.args[0], found="no such tensor", needed=needed) from error
    except (RuntimeError, ValueError) as error:
        mismatch = _MISMATCH.search(str(error))
        if mismatch is None:
            text = str(error).partition("\n")[0]
            raise InputError(file, found=text, needed="tensors that PEFT loads") from error
        name, *shapes = mismatch.groups()
        has, needed = (f"({shape})" for shape in shapes)
        needed = f"{needed}, as the base"
        raise InputError(file, _in_file(name), found=has, needed=needed) from error
    lost = next((name for name in found.unexpected_keys if name != _PROMPT), None)
    if lost is not None:
        places = (_in_file(name).removeprefix(_PREFIX) for name in wrapped.state_dict())
        needed = f"a place in the base model{nearest(lost.removeprefix(_PREFIX), places)}"
        raise InputError(file, lost, found="no place for it", needed=needed)
    kind = {"LORA": "lora_", "IA3": "ia3_"}.get(checkpoint.config.peft_type)
    missing = (name for name in found.missing_keys if kind and kind in name)
    return [_in_file(name) for name in missing]


def _in_file(name: str) -> str:
    """What PEFT calls a tensor of its model in a file, for a message."""
    plain = name.replace(".modules_to_save.default.", ".").replace(".default", "")
    return _PROMPT if name == "weight" else plain


def changes_nothing(model: Any, checkpoint: Checkpoint) -> bool:
    """Whether the base answers as it does without the adapter: no tensor of it has an effect."""
    config, layout = checkpoint.config, checkpoint.layout
    if isinstance(config, PrefixConfig):
        return False
    if any(_effect(model, checkpoint, module) for module in layout.modules):
        return False
    own = dict(model.named_parameters(remove_duplicate=False))
    for name in (*layout.biases, *layout.whole):
        weight = own.get(model_module(name).replace(".base_layer", ""))
        value = torch.from_numpy(wide(checkpoint.read(name)))
        if weight is None or not torch.equal(weight.detach().float().cpu(), value.float()):
            return False
    return True


def _effect(model: Any, checkpoint: Checkpoint, module: str) -> bool:
    """Whether one module's adapter does anything."""
    parts = {
        part: wide(checkpoint.part(module, part))
        for part in checkpoint.layout.modules[module]
        if part not in "ab"
    }
    if isinstance(checkpoint.config, LoraConfig):
        product = update(checkpoint, module)
        b, a = wide(product.b), wide(product.a)
        # Most adapters of no effect have a B of zeros, as it is before training.
        if (b.any() and a.any() and (b @ a).any()) or ("bias" in parts and parts["bias"].any()):
            return True
        if "magnitude" not in parts:
            return False
        norms = _norms(dict(model.named_modules()).get(model_module(module)))
        magnitude = torch.from_numpy(parts["magnitude"]).float().flatten()
        return norms.shape != magnitude.shape or not torch.allclose(magnitude, norms)
    return bool((parts["vector"] != 1).any())


def _norms(module: Any) -> Tensor:
    """The norm of each row of a layer's weight, which is what DoRA's magnitudes begin as."""
    if not isinstance(getattr(module, "weight", None), Tensor):
        return torch.empty(0)
    weight = module.weight.detach().float().cpu()
    weight = weight.T if isinstance(module, Conv1D) else weight  # stored (in, out)
    return torch.linalg.norm(weight.flatten(1), dim=1)


def _cleared(model: Any) -> None:
    """Takes off what PEFT had put on when it failed."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())
            elif isinstance(child, AuxiliaryTrainingWrapper):
                setattr(parent, name, child.original_module)
    model.requires_grad_(False)
