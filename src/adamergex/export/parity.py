"""Whether an exported model answers as the base with the adapter does."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from adamergex.checkpoint import Checkpoint
from adamergex.errors import AdamergexError

__all__ = ["compared"]

_CLASSES = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM}
_LEAST = 0.9
"""Below this share of like answers something is wrong; rounding turns a near tie here and there."""


def compared(
    checkpoint: Checkpoint, base: Path, merged: Path, prompts: Sequence[str]
) -> dict[str, Any]:
    """The next tokens after every token of some prompts, under PEFT and in the merged model.

    Raises:
        AdamergexError: An adapter for another task than writing; the models answer otherwise.

    Returns:
        prompts; tokens; top1, how many have the same likeliest next token; largest, the largest
        difference of a log-probability.
    """
    cls = _CLASSES.get(str(checkpoint.config.task_type))
    if cls is None:
        found = checkpoint.config.task_type
        raise AdamergexError(
            f"{checkpoint.name}: task_type: found {found}; the check needs a model that writes: "
            "--no-check leaves it out"
        )
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    reader = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    rows = [reader(prompt, return_tensors="pt") for prompt in prompts]
    ours = cls.from_pretrained(base, **options)
    with warnings.catch_warnings():  # PEFT still asks transformers 5 for a name it renamed
        warnings.simplefilter("ignore", FutureWarning)
        adapted = PeftModel.from_pretrained(ours, checkpoint.folder).eval()
    wanted = _answers(adapted, rows)
    del adapted
    del ours
    found = _answers(cls.from_pretrained(merged, **options).eval(), rows)
    tokens = len(wanted)
    alike = int((wanted.argmax(1) == found.argmax(1)).sum())
    largest = float((wanted - found).abs().max())
    if not alike >= _LEAST * tokens:
        raise AdamergexError(
            f"{merged.name}: the same likeliest token at {alike} of {tokens} places only, log-"
            f"probabilities up to {largest:.3g} apart: nothing was written; --no-check writes it"
        )
    return {"prompts": len(prompts), "tokens": tokens, "top1": alike, "largest": largest}


@torch.no_grad()
def _answers(model: Any, rows: Sequence[Any]) -> torch.Tensor:
    """Log-probabilities of the next token after each token of each row: (tokens, vocabulary)."""
    encoder_decoder = model.config.is_encoder_decoder
    more = {"decoder_input_ids": rows[0]["input_ids"]} if encoder_decoder else {}
    found = [model(**row, **more).logits[0].float().log_softmax(-1) for row in rows]
    return torch.cat(found)
