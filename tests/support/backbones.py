"""A tiny random backbone with a tokenizer, as a folder, and plain computations to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from adamergex.models import Backbone
from adamergex.tasks import Example
from tests.support.models import QUIET

QUIET_TRAINING = pytest.mark.filterwarnings(
    *QUIET.args,
    # SFTConfig turns it on by default, and older releases know it by this name only.
    "ignore:.gradient_checkpointing. is deprecated:FutureWarning",
)

STRUCTURES: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    "ia3": {
        "type": "ia3",
        "target_modules": ["k_proj", "v_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
    },
    "prefix": {"type": "prefix", "num_virtual_tokens": 3},
}
"""Adapter descriptions as a recipe has them."""

ROWS = [
    Example("red apple =", " Food"),
    Example("grinning face with big eyes =", " Emotion and joy"),
    Example("train =", " Travel"),
    Example("Sineklik in English:", " fly swatter"),
    Example("", "the text itself"),
    Example("a lion =", " Animals"),
    Example("chequered flag =", " Symbols of the race"),
    Example("soccer ball =", " Activities"),
]
"""Prompts and completions of different lengths, one without a prompt."""

_SENTENCES = [f"{row.prompt}{row.completion}" for row in ROWS] + [
    "a face with a big smile and an apple in the train",
    "the English text of the lion and the ball",
]

# Larger than usual: with small weights an error in an adapter would hardly reach the logits.
_INIT = 0.2


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, which can spell any text, trained on the few sentences above."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def with_ends(tokenizer: PreTrainedTokenizerFast, ends: str) -> None:
    """Has a tokenizer begin or end texts, and gives it a mask."""
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<bos>", "<eos>")]
    template = processors.TemplateProcessing(single=ends, special_tokens=special)
    tokenizer.backend_tokenizer.post_processor = template
    tokenizer.add_special_tokens({"mask_token": "<mask>"})


def write_tiny_backbone(folder: Path) -> Path:
    """Gemma 3 in miniature: sliding and full attention, one key-value head for four queries."""
    tokenizer = tiny_tokenizer()
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer) + 4,  # ids that no text uses, as real models have them
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=8,  # shorter than some rows: both kinds of attention are told apart
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        max_position_embeddings=64,
        initializer_range=_INIT,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    torch.manual_seed(0)
    Gemma3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _common(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer) + 4,
        "initializer_range": _INIT,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }


def _sizes() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }


def write_tiny(kind: str, folder: Path) -> Path:
    """A tiny random model of one of FAMILIES and its tokenizer."""
    if kind == "gemma3":
        return write_tiny_backbone(folder)
    tokenizer = tiny_tokenizer()
    if kind in ("t5", "xlm-roberta"):
        with_ends(tokenizer, "$A <eos>" if kind == "t5" else "<bos> $A <eos>")
    torch.manual_seed(0)
    _MADE[kind](_common(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_MADE: dict[str, Any] = {
    "llama": lambda common: LlamaForCausalLM(
        LlamaConfig(**common, **_sizes(), num_key_value_heads=2)
    ),
    "qwen3": lambda common: Qwen3ForCausalLM(
        Qwen3Config(**common, **_sizes(), num_key_value_heads=2, head_dim=8)
    ),
    "t5": lambda common: T5ForConditionalGeneration(
        T5Config(
            vocab_size=common["vocab_size"],
            pad_token_id=common["pad_token_id"],
            eos_token_id=common["eos_token_id"],
            decoder_start_token_id=common["pad_token_id"],
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
        )
    ),
    "xlm-roberta": lambda common: XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            **common, **_sizes(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
    ),
}

FAMILIES = {
    "gemma3": "decoder",
    "llama": "decoder",
    "qwen3": "decoder",
    "t5": "encoder-decoder",
    "xlm-roberta": "encoder",
}
"""Tiny models by name, and the family that each is of."""

DECODERS = [name for name, family in FAMILIES.items() if family == "decoder"]


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    """A copy of every weight."""
    return {name: x.clone() for name, x in backbone.model.state_dict().items()}


def assert_untouched(backbone: Backbone, before: dict[str, torch.Tensor]) -> None:
    """Every weight bit for bit as in `before`, no adapter left, nothing to train, evaluating."""
    after = backbone.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    assert "forward" not in vars(backbone.model)
    assert not any("peft" in type(m).__module__ for m in backbone.model.modules())
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert not any(m.training for m in backbone.model.modules())


def ids_of(backbone: Backbone, row: Example, *, end: bool = True) -> tuple[list[int], int]:
    """Token ids and the length of the prompt, by the tokenizer alone."""
    tok = backbone.tokenizer
    prompt = tok.encode(row.prompt, add_special_tokens=False)
    completion = tok.encode(row.completion, add_special_tokens=False)
    ids = [tok.bos_token_id, *prompt, *completion, *([tok.eos_token_id] if end else [])]
    return ids, 1 + len(prompt)


def completion_logits(
    backbone: Backbone, row: Example, *, model: Any = None, end: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits over the whole vocabulary before each token of the completion, and those tokens.

    The row is run alone and unpacked.
    """
    ids, start = ids_of(backbone, row, end=end)
    with torch.no_grad():
        logits = (model or backbone.model)(input_ids=torch.tensor([ids])).logits[0].double()
    return logits[start - 1 : -1], torch.tensor(ids[start:])
