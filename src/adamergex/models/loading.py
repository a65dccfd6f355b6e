"""Backbones by name: which family a model is of, and the model itself, kept in memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    set_seed,
)

from adamergex.errors import InputError
from adamergex.models.backbone import Backbone
from adamergex.models.builtin import BUILTIN, prepared

__all__ = ["backbone", "backbone_family", "tokenizer"]

_ENCODERS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "Model")


@lru_cache(maxsize=8)
def backbone_family(name: str) -> str:
    """`decoder`, `encoder-decoder` or `encoder`: from the model's config alone."""
    config = AutoConfig.from_pretrained(**_source(name))
    if config.is_encoder_decoder:
        return "encoder-decoder"
    made_as = (config.architectures or ["ForCausalLM"])[0]
    return "encoder" if made_as.endswith(_ENCODERS) and _masked(config) else "decoder"


@lru_cache(maxsize=2)
def backbone(name: str, labels: int | None = None) -> Backbone:
    """The backbone of that name.

    Args:
        name: A Hub id, a folder, a .gguf file, or `builtin:gemma-3-270m`.
        labels: For encoders: the size of the classification head; None for masked LM.

    Raises:
        InputError: A decoder that does more to its logits than multiply by the output weights:
            losses and scores are computed from those alone.
    """
    family = backbone_family(name)
    options: dict[str, Any] = {"dtype": torch.float32, **_source(name)}
    if family == "decoder":
        model: Any = AutoModelForCausalLM.from_pretrained(**options)
        _check_output_layer(name, model)
    elif family == "encoder-decoder":
        model = AutoModelForSeq2SeqLM.from_pretrained(**options)
    elif labels is None:
        model = AutoModelForMaskedLM.from_pretrained(**options)
    else:
        set_seed(0)  # the head is new, and drawn at random
        model = AutoModelForSequenceClassification.from_pretrained(**options, num_labels=labels)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    model.requires_grad_(False)
    return Backbone(model, AutoTokenizer.from_pretrained(**_source(name)), family)


def tokenizer(name: str) -> Backbone:
    """The backbone without its weights: enough to count tokens."""
    model: Any = torch.nn.Module()
    model.config = AutoConfig.from_pretrained(**_source(name))
    return Backbone(model, AutoTokenizer.from_pretrained(**_source(name)), backbone_family(name))


def _source(name: str) -> dict[str, str]:
    """Where transformers finds it."""
    if name == BUILTIN:
        return {"pretrained_model_name_or_path": str(prepared())}
    if name.endswith(".gguf"):
        path = Path(name)
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": name}


def _masked(config: Any) -> bool:
    """Whether transformers has the model with a masked-LM head, and it is no decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_decoder


def _check_output_layer(name: str, model: Any) -> None:
    config = model.config.get_text_config()
    for field in ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier"):
        value = getattr(config, field, None)
        if value not in (None, 1, 1.0):
            raise InputError(name, field, found=value, needed="none")
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise InputError(name, "output layer", found="a bias", needed="none")
