"""T taught to read another language: to answer as it answers the parallel source prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments

from adamergex.errors import InputError
from adamergex.models import Backbone, has_prefix
from adamergex.score import Taught
from adamergex.tasks import Item
from adamergex.train.families import on_one_device
from adamergex.train.fitting import fitted, max_length
from adamergex.train.lessons import Lesson, lesson
from adamergex.train.parts import tokens_at_once
from adamergex.train.structures import continued, save
from adamergex.train.trainer import SummedLoss

__all__ = ["distil"]


class _DistillationTrainer(SummedLoss, Trainer):
    """transformers' trainer, with the loss of `distil`."""

    def __init__(self, *args: Any, lesson: Lesson, packed: bool, **kwargs: Any) -> None:
        self._lesson, self._packed = lesson, packed
        super().__init__(*args, **kwargs)

    def _summed(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        total = self._lesson.divergence(model, inputs["rows"])
        # No row is left for some processes where the last part is small.
        return total * (inputs["labels"] != -100).any()

    def _cost(self, rows: Sequence[Mapping[str, Any]]) -> int:
        lengths = [len(self._lesson.rows[row["row"]]) for row in rows]
        return tokens_at_once(lengths, packed=self._packed)


def distil(
    backbone: Backbone,
    items: Sequence[Item],
    learnt: Taught,
    output: Path,
    *,
    start: Path,
    training: Mapping[str, Any],
    seed: int,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Trains an adapter on from T until it answers target prompts as T answers the source ones.

    Knowledge distillation (arXiv 1503.02531) from one language to another (arXiv 1705.02073): the
    loss is the Kullback-Leibler divergence from the teacher's distributions, see `lessons`, summed
    over an update and divided by how many they are. An encoder's head is T's, and is not trained.
    TRL's DistillationTrainer would put one prompt to teacher and student.

    Args:
        backbone: The base model; as it was, when this returns.
        items: What is asked in the target language.
        learnt: What T teaches about the same in the source language.
        output: The folder to make.
        start: T, a PEFT folder.
        training: See train_adapter.
        seed: Of the order of the rows, and of dropout.
        checkpoints: See train_adapter.

    Raises:
        InputError: What does not fit: see `lessons.lesson`; T made for another model.

    Returns:
        As train_adapter, without init_sha256.
    """
    rows = lesson(backbone, items, learnt, min(max_length(training), backbone.positions))
    model = continued(backbone, start)
    _check_head(backbone, model, start)
    for name, value in model.named_parameters():
        if "modules_to_save" in name:
            value.requires_grad = False

    def made(arguments: Mapping[str, Any]) -> Any:
        options = on_one_device(
            TrainingArguments(remove_unused_columns=False, label_names=["labels"], **arguments)
        )
        if options.world_size > 1 and backbone.family != "decoder":
            needed = f"1, for an {backbone.family}"
            raise InputError("parallel", "processes", found=options.world_size, needed=needed)
        numbered = [{"row": i, "count": count} for i, count in enumerate(rows.counts)]
        trainer = _DistillationTrainer(
            model=model,
            args=options,
            train_dataset=Dataset.from_list(numbered),
            data_collator=_collated,
            lesson=rows,
            packed=backbone.family == "decoder" and not has_prefix(model),
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    try:
        if backbone.family != "encoder":
            backbone.check_head(model)
        found = fitted(backbone, made, training, seed, checkpoints)
        save(model, output)
    finally:
        backbone.restored(model)
    return {"rows": len(rows.rows), "tokens": sum(map(len, rows.rows)), **found}


def _check_head(backbone: Backbone, model: Any, start: Path) -> None:
    """Without T's head an encoder's answers would be those of random weights."""
    if backbone.family == "encoder" and not any(
        "modules_to_save" in name for name, _ in model.named_parameters()
    ):
        backbone.restored(model)
        raise InputError(start, "head", found="none", needed="T's: an encoder is taught from T on")


def _collated(batch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of rows, and `labels` for a trainer to count: one for each distribution."""
    numbers = [row["row"] for row in batch for _ in range(row["count"])]
    return {"rows": [row["row"] for row in batch], "labels": torch.tensor(numbers)}
