"""One adapter trained, from rows to a PEFT folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import PrinterCallback, set_seed
from trl.trainer.sft_config import SFTConfig

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, has_prefix
from adamergex.tasks import Example
from adamergex.train.trainer import AdapterTrainer

__all__ = ["adapter_config", "initialised", "train_adapter", "vocabulary_of"]

_CONFIGS = {"lora": LoraConfig, "ia3": IA3Config, "prefix": PrefixTuningConfig}


def adapter_config(adapter: Mapping[str, Any]) -> Any:
    """PEFT's config of an adapter description: `type`, and PEFT's own names for the rest."""
    fields = dict(adapter)
    kind = fields.pop("type")
    if kind not in _CONFIGS:
        raise InputError("adapter", "type", found=kind, needed=" or ".join(_CONFIGS))
    return _CONFIGS[kind](task_type="CAUSAL_LM", **fields)


def initialised(backbone: Backbone, adapter: Mapping[str, Any], seed: int) -> tuple[Any, str]:
    """A fresh adapter on the backbone, and the SHA-256 of its first values.

    The same seed gives the same values whatever was computed before. T, Rs and Rt must start from
    one point: otherwise Rt - Rs is mostly the difference of two random initialisations.
    """
    set_seed(seed)
    model = get_peft_model(backbone.model, adapter_config(adapter))
    backbone.check_head(model)
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        if value.requires_grad:
            digest.update(name.encode())
            digest.update(value.detach().cpu().numpy().tobytes())
    return model, digest.hexdigest()


def vocabulary_of(backbone: Backbone, rows: Iterable[Example]) -> list[int]:
    """The token ids that occur in the completions of `rows`, the end token among them, sorted."""
    return sorted(_labels([backbone.tokens(row, end=True) for row in rows]))


def _labels(rows: Iterable[Tokens]) -> set[int]:
    return {token for row in rows for token in row.ids[row.prompt_length :]}


def train_adapter(
    backbone: Backbone,
    rows: Sequence[Example],
    output: Path,
    *,
    adapter: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    vocabulary: list[int] | None = None,
) -> dict[str, Any]:
    """Trains one adapter with TRL and saves it as a PEFT folder.

    Args:
        backbone: The base model; as it was, when this returns.
        rows: What to train on.
        output: The folder to make.
        adapter: See adapter_config.
        training: Names and values of SFTConfig: learning_rate, num_train_epochs ...
        seed: Of the initialisation and of the order of the rows.
        vocabulary: See AdapterTrainer.

    Raises:
        InputError: The adapter's type is unknown, it would change the output layer, or the
            vocabulary does not fit the rows.

    Returns:
        rows, tokens (of one epoch), steps, seconds, the loss of each step, init_sha256.
    """
    tokens = [backbone.tokens(row, end=True) for row in rows]
    if vocabulary is not None:
        _check_vocabulary(vocabulary, _labels(tokens))
    model, digest = initialised(backbone, adapter, seed)
    data = Dataset.from_list(
        [
            {"input_ids": t.ids, "labels": [-100] * t.prompt_length + t.ids[t.prompt_length :]}
            for t in tokens
        ]
    )
    # A prefix is a cache, and rows packed into one sequence cannot each have a cache of their own.
    packing = not has_prefix(model)
    start = time.perf_counter()
    try:
        with TemporaryDirectory() as scratch:
            trainer = AdapterTrainer(
                model=model,
                args=_arguments(scratch, training, seed, packing),
                train_dataset=data,
                processing_class=backbone.tokenizer,
                vocabulary=vocabulary,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        seconds = time.perf_counter() - start
        model.save_pretrained(output)
    finally:
        backbone.restored(model)
    return {
        "rows": len(rows),
        "tokens": sum(len(t.ids) for t in tokens),
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "losses": trainer.losses,
        "init_sha256": digest,
    }


def _check_vocabulary(vocabulary: list[int], labels: set[int]) -> None:
    """A label outside it, or out of order, would be trained as another token without a word."""
    if vocabulary != sorted(set(vocabulary)):
        raise InputError("vocabulary", found="token ids out of order", needed="sorted, each once")
    missing = sorted(labels.difference(vocabulary))
    if missing:
        raise InputError("vocabulary", found=f"none of {missing}", needed="every token of a label")


def _arguments(scratch: str, training: Mapping[str, Any], seed: int, packing: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=scratch,
        seed=seed,
        padding_free=packing,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        # The adapter is small and the base resident: nothing here is worth recomputing or saving.
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        **training,
    )
