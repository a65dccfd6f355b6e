"""Tiny random models of the families that people use, each with what is peculiar to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests.support.backbones import tiny_tokenizer, with_ends

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,  # with smaller weights an error would hardly reach the logits
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_GEMMA = {
    **_SIZES,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
_EXPERTS = {**_GROUPED, "head_dim": 8, "moe_intermediate_size": 24}
_PAIRS = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def _plain(config: Any, model: Any, **options: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda common: model(config(**{**common, **options}))


def _wrapper(common: dict[str, Any]) -> Any:
    """Gemma 3 with eyes, as its sizes of 4B and more are; the text part as in `gemma3`."""
    eyes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = t.Gemma3Config(
        text_config={**common, **_GEMMA},
        vision_config=eyes,
        mm_tokens_per_image=4,
        image_token_index=common["vocab_size"] - 1,
        boi_token_index=common["vocab_size"] - 2,
        eoi_token_index=common["vocab_size"] - 3,
        initializer_range=0.2,
        **{name: common[name] for name in ("pad_token_id", "eos_token_id", "bos_token_id")},
    )
    return t.Gemma3ForConditionalGeneration(config)


def _bart(common: dict[str, Any]) -> Any:
    """With a bias on its logits, which is 0 in most."""
    config = t.BartConfig(
        **common,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=96,
        init_std=0.2,
        dropout=0.0,
        decoder_start_token_id=common["eos_token_id"],
        forced_eos_token_id=None,
    )
    model = t.BartForConditionalGeneration(config)
    model.final_logits_bias.normal_()
    return model


def _phi(common: dict[str, Any]) -> Any:
    """Its output layer has a bias, which begins as 0."""
    model = t.PhiForCausalLM(t.PhiConfig(**{**common, **_GROUPED}))
    torch.nn.init.normal_(model.lm_head.bias)
    return model


def _t5(config: Any, model: Any) -> Callable[[dict[str, Any]], Any]:
    def made(common: dict[str, Any]) -> Any:
        start = common["pad_token_id"]
        return model(config(**common, **_PAIRS, decoder_start_token_id=start, dropout_rate=0.0))

    return made


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "llama": _plain(t.LlamaConfig, t.LlamaForCausalLM, **_GROUPED),
    # As wide as blocks of quantised weights are.
    "llama-64": _plain(
        t.LlamaConfig,
        t.LlamaForCausalLM,
        **{**_GROUPED, "hidden_size": 64, "intermediate_size": 128},
    ),
    "mistral": _plain(t.MistralConfig, t.MistralForCausalLM, **_GROUPED, sliding_window=8),
    "qwen2": _plain(t.Qwen2Config, t.Qwen2ForCausalLM, **_GROUPED),
    "qwen3": _plain(t.Qwen3Config, t.Qwen3ForCausalLM, **_GROUPED, head_dim=8),
    "qwen3-moe": _plain(
        t.Qwen3MoeConfig, t.Qwen3MoeForCausalLM, **_EXPERTS, num_experts=4, num_experts_per_tok=2
    ),
    "gemma2": _plain(
        t.Gemma2Config,
        t.Gemma2ForCausalLM,
        **_GEMMA,
        attn_logit_softcapping=2.0,  # low enough to be felt by a model as small as this
        final_logit_softcapping=3.0,
    ),
    "gemma3": _plain(t.Gemma3TextConfig, t.Gemma3ForCausalLM, **_GEMMA),
    "gemma3-wrapper": _wrapper,
    "cohere": _plain(t.CohereConfig, t.CohereForCausalLM, **_GROUPED, logit_scale=0.25),
    "cohere2": _plain(
        t.Cohere2Config,
        t.Cohere2ForCausalLM,
        **_GROUPED,
        logit_scale=0.25,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "granite": _plain(
        t.GraniteConfig,
        t.GraniteForCausalLM,
        **_GROUPED,
        logits_scaling=4.0,
        embedding_multiplier=2.0,
        residual_multiplier=0.5,
        attention_multiplier=0.25,
    ),
    "phi": _phi,
    "olmo2": _plain(t.Olmo2Config, t.Olmo2ForCausalLM, **_GROUPED),
}
_ENCODER_DECODERS = {
    "t5": _t5(t.T5Config, t.T5ForConditionalGeneration),
    "mt5": _t5(t.MT5Config, t.MT5ForConditionalGeneration),
    "bart": _bart,
}
_ENCODERS = {
    "xlm-roberta": _plain(t.XLMRobertaConfig, t.XLMRobertaForMaskedLM, **_SIZES, **_STILL),
    "modernbert": _plain(
        t.ModernBertConfig,
        t.ModernBertForMaskedLM,
        **_SIZES,
        local_attention=16,
        global_attn_every_n_layers=2,
    ),
}

KINDS = {
    **dict.fromkeys(_DECODERS, "decoder"),
    **dict.fromkeys(_ENCODER_DECODERS, "encoder-decoder"),
    **dict.fromkeys(_ENCODERS, "encoder"),
}
"""Names of models, and the family that each is of."""


def write_family(name: str, folder: Path) -> Path:
    """A tiny random model of KINDS and its tokenizer; the same weights in every call."""
    tokenizer = tiny_tokenizer()
    if KINDS[name] != "decoder":
        with_ends(tokenizer, "$A <eos>" if name != "xlm-roberta" else "<bos> $A <eos>")
    if name == "modernbert":
        tokenizer.add_special_tokens({"cls_token": "<bos>", "sep_token": "<eos>"})
    ids = ("pad_token_id", "eos_token_id", "bos_token_id")
    common = {"vocab_size": len(tokenizer) + 4} | {x: getattr(tokenizer, x) for x in ids}
    torch.manual_seed(0)
    made = {**_DECODERS, **_ENCODER_DECODERS, **_ENCODERS}[name](common)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
