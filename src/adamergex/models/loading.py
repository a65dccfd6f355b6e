"""Backbones by name: which family a model is of, and the model itself, kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    set_seed,
)
from transformers.utils import logging as verbosity

from adamergex.checkpoint import cut_short
from adamergex.errors import AdamergexError, InputError
from adamergex.models.asked import asked_only
from adamergex.models.backbone import Backbone
from adamergex.models.builtin import BUILTIN, prepared
from adamergex.models.head import check_output_layer
from adamergex.models.sharding import divided
from adamergex.plain import check_downloaded
from adamergex.recipe import PlacedModelKwargs, placed_model_kwargs

__all__ = ["backbone", "backbone_family", "own_backbone", "tokenizer", "unload"]

_ENCODERS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "Model")
_MODEL = "a model that transformers loads"
_AS_USUAL = PlacedModelKwargs()


@lru_cache(maxsize=8)
def backbone_family(name: str) -> str:
    """`decoder`, `encoder-decoder` or `encoder`: from the model's config alone."""
    with _readable(name):
        config = AutoConfig.from_pretrained(**_source(name))
    if config.is_encoder_decoder:
        return "encoder-decoder"
    made_as = (config.architectures or ["ForCausalLM"])[0]
    return "encoder" if made_as.endswith(_ENCODERS) and _masked(config) else "decoder"


def backbone(
    name: str, labels: int | None = None, model_kwargs: Mapping[str, Any] | None = None
) -> Backbone:
    """The backbone of that name, loaded once in this process however it is asked for.

    Args:
        name: A Hub id, a folder, a .gguf file, or `builtin:gemma-3-270m`.
        labels: For encoders: the size of the classification head; None for masked LM. Others have
            one output layer.
        model_kwargs: Values of recipe.PlacedModelKwargs.

    Raises:
        InputError: A model that makes its logits in another way than `Head` does.
    """
    encoder = backbone_family(name) == "encoder"
    how = placed_model_kwargs(model_kwargs or {}, "model_kwargs")
    return _resident(name, labels if encoder else None, cast(Any, how))


def own_backbone(
    name: str, labels: int | None = None, how: PlacedModelKwargs = _AS_USUAL
) -> Backbone:
    """As `backbone`, but loaded anew, for the caller alone: an adapter may stay on it."""
    family = backbone_family(name)
    with _readable(name), _quietly():
        model = _loaded(name, family, labels, how)
        reader = AutoTokenizer.from_pretrained(**_source(name))
    # Divided before it is moved: the whole may be too large for one GPU.
    divided(name, model)
    if how.quantization is None:  # else it is where it has to be
        model.to(_device(how))
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes would lay 4 bits out anew, through which it has no gradient.
            module.support_avx512bf16_for_cpu = False
    model.eval()
    model.requires_grad_(False)
    if family != "encoder":
        check_output_layer(name, model)
    if family == "decoder":
        asked_only(model)
    if family == "encoder":
        _share_body((name, how), model.base_model)
    return Backbone(model, reader, family)


_resident = lru_cache(maxsize=2)(own_backbone)


def unload() -> None:
    """Lets go of the backbones that this process keeps."""
    _resident.cache_clear()


_BODIES: WeakValueDictionary[tuple[str, PlacedModelKwargs], Any] = WeakValueDictionary()
"""The layers of each encoder that is kept."""


def _share_body(key: tuple[str, PlacedModelKwargs], body: Any) -> None:
    """Has an encoder use the memory of its layers that are kept already, below another head.

    Each change of a backbone's weights is undone before another is used.
    """
    kept = _BODIES.setdefault(key, body)
    if kept is body:
        return
    weights = dict(kept.named_parameters())
    for name, weight in body.named_parameters():
        if name in weights and torch.equal(weight, weights[name]):
            weight.data = weights[name].data


def tokenizer(name: str) -> Backbone:
    """The backbone without its weights: enough to count tokens."""
    model: Any = torch.nn.Module()
    with _readable(name):
        model.config = AutoConfig.from_pretrained(**_source(name))
        reader = AutoTokenizer.from_pretrained(**_source(name))
    return Backbone(model, reader, backbone_family(name))


def _loaded(name: str, family: str, labels: int | None, how: PlacedModelKwargs) -> Any:
    """The model with the head that its family trains."""
    options: dict[str, Any] = {"dtype": getattr(torch, how.dtype), **_source(name)}
    if how.attn_implementation is not None:
        options["attn_implementation"] = how.attn_implementation
    if how.quantization is not None:
        options |= _quantised(family, how)
    if family == "decoder":
        return AutoModelForCausalLM.from_pretrained(**options)
    if family == "encoder-decoder":
        return AutoModelForSeq2SeqLM.from_pretrained(**options)
    if labels is None:
        return AutoModelForMaskedLM.from_pretrained(**options)
    set_seed(0)  # the head is new, and drawn at random
    return AutoModelForSequenceClassification.from_pretrained(**options, num_labels=labels)


def _device(how: PlacedModelKwargs) -> str:
    return how.device_map or ("cuda" if torch.cuda.is_available() else "cpu")


def _quantised(family: str, how: PlacedModelKwargs) -> dict[str, Any]:
    """What transformers needs to quantise weights as it reads them."""
    if family == "encoder":
        needed = "none, for an encoder"
        raise InputError("model_kwargs", "quantization", found=how.quantization, needed=needed)
    if find_spec("bitsandbytes") is None:
        found = f"{how.quantization}, without bitsandbytes"
        needed = "pip install 'adamergex[quantization]'"
        raise InputError("model_kwargs", "quantization", found=found, needed=needed)
    # It says at each product that what comes in is cast.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if how.quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=getattr(torch, how.dtype),
        )
    return {"quantization_config": config, "device_map": {"": _device(how)}}


def _source(name: str) -> dict[str, Any]:
    """Where transformers finds it; without this `False` it would ask whether to run its code."""
    found: dict[str, Any] = {"pretrained_model_name_or_path": name, "trust_remote_code": False}
    if name == BUILTIN:
        found["pretrained_model_name_or_path"] = str(prepared())
    elif name.endswith(".gguf"):
        path = Path(name)
        found |= {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    elif "@" in name and not Path(name).exists():
        repository, _, revision = name.partition("@")
        found |= {"pretrained_model_name_or_path": repository, "revision": revision}
    return found


@contextmanager
def _quietly() -> Generator[None]:
    """Has transformers neither draw bars nor list the weights that a new head begins without."""
    level, bars = verbosity.get_verbosity(), verbosity.is_progress_bar_enabled()
    verbosity.set_verbosity_error()
    verbosity.disable_progress_bar()
    try:
        yield
    finally:
        verbosity.set_verbosity(level)
        if bars:
            verbosity.enable_progress_bar()


@contextmanager
def _readable(name: str) -> Generator[None]:
    """What transformers raises over a local model, in one line: it can be of any kind."""
    try:
        yield
    except AdamergexError:
        raise
    except Exception as error:
        if not Path(name).exists():
            raise
        _check_files(Path(name))
        found = f"{type(error).__name__}: {error}"
        raise InputError(name, found=found, needed=_MODEL) from error


def _check_files(model: Path) -> None:
    """Raises InputError for a file that transformers reads where its download did not come through.

    Only where it has failed: most repositories hold the weights more than once, and who clones one
    without git-lfs fetches those that are needed.
    """
    files = [model] if model.is_file() else sorted(model.iterdir())
    kinds = {".json", ".safetensors", ".model", ".gguf"}
    if not any(file.suffix == ".safetensors" for file in files):
        kinds.add(".bin")
    for file in (file for file in files if file.suffix in kinds and file.is_file()):
        subject = [model] if file == model else [model, file.name]
        with file.open("rb") as content:
            check_downloaded(content.read(64), _MODEL, *subject)
        missing = cut_short(file) if file.suffix == ".safetensors" else None
        if missing is not None:
            raise InputError(*subject, found=missing, needed=f"{_MODEL}: download it again")


def _masked(config: Any) -> bool:
    """Whether transformers has the model with a masked-LM head, and it is no decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(
        config, "is_decoder", False
    )
