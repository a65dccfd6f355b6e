"""T taught to read another language: to answer as it answers the parallel source prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftConfig
from torch import Tensor
from torch.nn.functional import kl_div
from transformers import PrinterCallback, Trainer, TrainingArguments

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from adamergex.models import Backbone, answer_states, prompt_ids
from adamergex.models.landing import fits, land
from adamergex.train.families import on_one_device
from adamergex.train.fitting import fitted, max_length
from adamergex.train.structures import save, wrapped
from adamergex.train.trainer import SummedLoss

__all__ = ["distil"]


class _DistillationTrainer(SummedLoss, Trainer):
    """transformers' trainer, with the loss of `distil`."""

    def __init__(
        self,
        *args: Any,
        backbone: Backbone,
        states: Tensor,
        vocabulary: list[int] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._backbone = backbone
        self._head = backbone.model.get_output_embeddings().weight
        if vocabulary is not None:
            self._head = self._head[vocabulary]
        self._states = states.to(self._head)

    def _summed(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        rows = inputs["labels"]
        given = rows != -100  # no row is left for some processes where the last batch is small
        states = answer_states(self._backbone, model, inputs["input_ids"])[given]
        taught = self._states[rows[given]]
        with torch.autocast(states.device.type, enabled=False):  # distributions are in float32
            found, wanted = ((x.float() @ self._head.T).log_softmax(-1) for x in (states, taught))
            return kl_div(found, wanted, log_target=True, reduction="sum")


def distil(
    backbone: Backbone,
    prompts: Sequence[str],
    states: Tensor,
    output: Path,
    *,
    start: Path,
    training: Mapping[str, Any],
    seed: int,
    vocabulary: list[int] | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Trains an adapter on from T until it answers target prompts as T answers the source ones.

    Knowledge distillation (arXiv 1503.02531) from one language to another: the loss is the
    Kullback-Leibler divergence of the distribution of the answer's first token from the teacher's.

    Args:
        backbone: The base model; as it was, when this returns.
        prompts: What is asked in the target language.
        states: T's before its answers to the same in the source language, (prompts, width).
        output: The folder to make.
        start: T, a PEFT folder.
        training: See train_adapter.
        seed: Of the order of the rows, and of dropout.
        vocabulary: Of the distributions: that by which T was trained; None for all tokens.
        checkpoints: See train_adapter.

    Raises:
        InputError: No prompts, or as many states as there are not prompts; a backbone that is no
            decoder.

    Returns:
        As train_adapter, without init_sha256.
    """
    if not prompts:
        raise InputError("training", "rows", found=0, needed="at least one")
    if len(states) != len(prompts):
        raise InputError("distillation", "states", found=len(states), needed=len(prompts))
    rows = [prompt_ids(backbone, prompt, max_length(training)) for prompt in prompts]
    model = _continued(backbone, start)

    def made(arguments: Mapping[str, Any]) -> Any:
        options = TrainingArguments(
            remove_unused_columns=False, label_names=["labels"], **arguments
        )
        trainer = _DistillationTrainer(
            model=model,
            args=on_one_device(options),
            train_dataset=Dataset.from_list(
                [{"input_ids": ids, "row": i} for i, ids in enumerate(rows)]
            ),
            data_collator=_collated,
            backbone=backbone,
            states=states,
            vocabulary=vocabulary,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    try:
        backbone.check_head(model)
        found = fitted(made, training, seed, checkpoints)
        save(model, output)
    finally:
        backbone.restored(model)
    return {"rows": len(rows), "tokens": sum(map(len, rows)), **found}


def _continued(backbone: Backbone, start: Path) -> Any:
    """The base with an adapter on it to be trained on; PEFT's own way refuses a prefix."""
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


def _collated(batch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as token ids, and their numbers as `labels`, by which the trainer counts rows."""
    return {
        "input_ids": [row["input_ids"] for row in batch],
        "labels": torch.tensor([row["row"] for row in batch]),
    }
