"""Tiny random models, and adapters that PEFT itself attaches to them and saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
)

from tests.support.folders import ROLES

QUIET = pytest.mark.filterwarnings(
    # PEFT says so of every model whose base model it cannot look up on the Hub.
    "ignore:Could not find a config file:UserWarning:peft",
    # PEFT still asks transformers 5 for a name it renamed.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning",
    # What PEFT says of a pattern that matches nothing, which one test needs.
    "ignore:The following rank_pattern keys did not match:RuntimeWarning",
    # PEFT 0.21 takes the bias of lora_B for a broken factor, and loads it all the same.
    r"ignore:Adapter .default.. \d+ LoRA tensor.s. have invalid shape.*lora_B\.bias",
)

# Larger than usual: with small weights an error in an adapter would hardly reach the logits.
INIT = 0.3
IDS = torch.tensor([[3, 7, 1, 9, 4], [5, 2, 8, 6, 10]])


def _made(cls: Any, config: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = cls(config).eval()
    model.name_or_path = "tiny-random/model"
    return model


def llama() -> torch.nn.Module:
    """Llama of 2 layers, the same weights in every call."""
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        pad_token_id=0,
        initializer_range=INIT,
    )
    return _made(LlamaForCausalLM, config)


def gpt2(cls: Any = GPT2LMHeadModel, **options: Any) -> torch.nn.Module:
    """GPT-2 of 2 layers: its weights are stored (in, out), and it has biases."""
    config = GPT2Config(
        vocab_size=32,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        initializer_range=INIT,
        **options,
    )
    return _made(cls, config)


def gpt2_classifier(labels: int = 3) -> torch.nn.Module:
    """GPT-2 with a classification head called `score`."""
    return gpt2(GPT2ForSequenceClassification, num_labels=labels)


def t5() -> torch.nn.Module:
    """T5 of 2 + 2 layers."""
    config = T5Config(
        vocab_size=32,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return _made(T5ForConditionalGeneration, config)


def xlmr(cls: Any = XLMRobertaForSequenceClassification, **options: Any) -> torch.nn.Module:
    """XLM-R of 2 layers, with a classification head called `classifier` that has biases."""
    config = XLMRobertaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        initializer_range=INIT,
        **options,
    )
    return _made(cls, config)


def xlmr_masked() -> torch.nn.Module:
    """The same body with a masked-language-model head."""
    return xlmr(XLMRobertaForMaskedLM)


def randomised(model: torch.nn.Module, seed: int, *, touched: Callable[[str], bool] | None = None):
    """Random adapter weights: freshly made ones change nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "ia3_l" in name or "magnitude" in name:
            parameter.data *= 0.5 + torch.rand(parameter.shape, generator=generator)
        elif "lora_" in name or "prompt_encoder" in name or (touched and touched(name)):
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model


def saved(
    base: Callable[[], torch.nn.Module],
    config: peft.PeftConfig,
    folder: Path,
    seed: int,
    touched: Callable[[str], bool] | None = None,
) -> Path:
    """One random adapter as PEFT writes it."""
    model = randomised(peft.get_peft_model(base(), config), seed, touched=touched)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def three_saved(
    base: Callable[[], torch.nn.Module],
    configs: Any,
    folder: Path,
    touched: Callable[[str], bool] | None = None,
) -> dict[str, Path]:
    """T, Rt and Rs as arguments of `merge`; `configs` makes a config, or is a list of three."""
    made = [c() for c in configs] if isinstance(configs, list) else [configs() for _ in ROLES]
    return {
        role.replace("-", "_"): saved(base, config, folder / role, seed, touched)
        for seed, (role, config) in enumerate(zip(ROLES, made, strict=True))
    }


def loaded(base: Callable[[], torch.nn.Module], folder: Path) -> peft.PeftModel:
    """The base model with the adapter in `folder`, in float64."""
    return peft.PeftModel.from_pretrained(base(), folder).double().eval()


def lora_layers(model: torch.nn.Module) -> dict[str, Any]:
    """Module name inside the base model -> PEFT's LoRA layer."""
    return {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }


def deltas(base: Callable[[], torch.nn.Module], folder: Path) -> dict[str, torch.Tensor]:
    """Module -> weight update in float64, as PEFT computes it."""
    layers = lora_layers(loaded(base, folder))
    return {name: layer.get_delta_weight("default").detach() for name, layer in layers.items()}


@torch.no_grad()
def logits(model: torch.nn.Module, **inputs: Any) -> np.ndarray:
    """The model's output on fixed tokens."""
    return model(**(inputs or {"input_ids": IDS})).logits.double().numpy()
