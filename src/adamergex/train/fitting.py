"""A trainer run to its end, from the start or from where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from adamergex.errors import InputError
from adamergex.models import Backbone, bfloat16_products
from adamergex.train.checkpoints import CheckpointWriter, last_checkpoint
from adamergex.train.precision import frozen_in_bfloat16
from adamergex.train.recomputing import checkpointed
from adamergex.train.tracking import place, reported

__all__ = ["fitted", "max_length"]

_OWN = ("max_length", "gradient_checkpointing", "logging_dir")
"""What is none of TrainingArguments, or is not left to them."""


def max_length(training: Mapping[str, Any]) -> int:
    """The most tokens of a row."""
    return training.get("max_length", 1024)


def fitted(
    backbone: Backbone,
    make: Callable[[Mapping[str, Any]], Any],
    training: Mapping[str, Any],
    seed: int,
    checkpoints: Path | None,
) -> dict[str, Any]:
    """Makes a trainer and trains; where `checkpoints` has one, it ends as it would have ended.

    Args:
        backbone: The base model under what is trained.
        make: From the names and values of TrainingArguments to a trainer that keeps its `losses`.
        training: Names and values of TrainingArguments; also max_length, and logging_dir, where
            TensorBoard's files go.
        seed: Of what is drawn in training, and of the order of the rows.
        checkpoints: A folder for checkpoints; None to keep nothing.

    Raises:
        InputError: bfloat16 on a processor without instructions for it; layers that cannot be run
            again.

    Returns:
        steps, training_seconds, and losses, one for each step.
    """
    if training.get("bf16") and not bfloat16_products():
        needed = "false: this processor is not known to have instructions for it"
        raise InputError("training", "bf16", found=True, needed=needed)
    given = {key: value for key, value in training.items() if key not in _OWN}
    start = time.perf_counter()
    with reported(training), _kept_in(checkpoints) as folder:
        trainer = make({**_arguments(folder, seed), **given})
        place(trainer, training.get("logging_dir"))
        before = None
        if checkpoints is not None:
            trainer.add_callback(CheckpointWriter(trainer))
            before = last_checkpoint(checkpoints)
        narrow = frozen_in_bfloat16(backbone) if training.get("bf16") else nullcontext()
        again = training.get("gradient_checkpointing")
        with narrow, checkpointed(trainer.model) if again else nullcontext():
            if before is None:
                trainer.train()
            else:
                trainer.losses = before[1]
                trainer.train(resume_from_checkpoint=str(before[0]))
    return {
        "steps": trainer.state.global_step,
        "training_seconds": time.perf_counter() - start,
        "losses": trainer.losses,
    }


@contextmanager
def _kept_in(checkpoints: Path | None) -> Generator[Path]:
    if checkpoints is not None:
        yield checkpoints
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)


def _arguments(folder: Path, seed: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "seed": seed,
        "gradient_checkpointing": False,  # see `checkpointed`
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,  # by the recipe's word only: it changes results
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
    }
