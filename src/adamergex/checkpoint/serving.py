"""What stands against serving an adapter: vLLM 0.32, and llama.cpp's convert_lora_to_gguf.py.

Both take plain LoRA, and look at the tensors more than at the config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamergex.checkpoint.parts import part_of

__all__ = ["VLLM_RANKS", "obstacles", "serving_rank"]

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for --max-lora-rank."""
_FACTORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
_HEADS = ("classifier", "score")
"""What vLLM takes in modules_to_save."""


def serving_rank(rank: int) -> int | None:
    """The smallest --max-lora-rank of vLLM that admits `rank`; None where there is none."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), None)


def obstacles(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str | None]:
    """Server -> why it does not serve an adapter as it stands; None where it does.

    Args:
        config: What adapter_config.json says.
        shapes: Tensor name, as PEFT writes it -> shape.
    """
    others = sorted(name for name in shapes if not name.endswith(_FACTORS))
    both = _not_plain(config, shapes, others)
    if both is not None:
        return {"vLLM": both, "llama.cpp": both}
    on_head = any(name.endswith("lm_head.lora_A.weight") for name in shapes)
    return {"vLLM": _vllm(config, others), "llama.cpp": _llama_cpp(config, others, on_head)}


def _not_plain(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], others: list[str]
) -> str | None:
    """Why neither serves it."""
    if config.get("peft_type") != "LORA":
        return f"it serves LoRA, not {config.get('peft_type')}"
    found = {part[1]: name for name in others if (part := part_of(name)) is not None}
    if config.get("use_dora") or "magnitude" in found:
        return "it does not serve DoRA"
    if config.get("lora_bias") or "bias" in found:
        return f"it does not serve biases in LoRA's B ({found.get('bias', 'lora_bias')})"
    trained = any(name.endswith("base_layer.bias") for name in others)
    if trained or config.get("bias", "none") != "none":
        return "it does not serve trained biases of the base model"
    kernel = next((n for n, s in shapes.items() if len(s) > 2 and n.endswith(_FACTORS)), None)
    return f"it does not serve convolutions ({kernel})" if kernel else None


def _vllm(config: Mapping[str, Any], others: list[str]) -> str | None:
    saved: list[str] = config.get("modules_to_save") or []
    unknown = sorted(name for name in saved if name not in _HEADS)
    if unknown:
        return f"of modules_to_save it takes classifier or score, not {', '.join(unknown)}"
    heads: set[str] = set()
    for name in others:
        module, _, leaf = name.rpartition(".")
        head = module.rpartition(".")[2]
        if name.endswith((".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")):
            return f"it leaves out {name}: right only where that is the base model's own"
        if head not in _HEADS or leaf not in ("weight", "bias"):
            return f"it refuses {name}"
        if head not in saved:
            return f"it refuses {name}, as modules_to_save does not name {head}"
        heads.add(head)
    return "it takes one head, not two" if len(heads) > 1 else None


def _llama_cpp(config: Mapping[str, Any], others: list[str], on_head: bool) -> str | None:
    for name in others:
        if name.endswith(".base_layer.weight"):
            return f"it leaves out {name}: right only where that is the base model's own"
        if "_layernorm" in name or ".norm" in name:
            return f"it leaves out {name}"
        return f"it refuses {name}"
    saved: list[str] = config.get("modules_to_save") or []
    if saved:
        return f"it does not serve modules_to_save ({', '.join(saved)})"
    return "it refuses lm_head where that is tied to the embeddings" if on_head else None
