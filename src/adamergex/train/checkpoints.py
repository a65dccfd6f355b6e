"""Training that goes on where it was killed: what is kept meanwhile, and when it is believed."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

__all__ = ["EVERY", "CheckpointWriter", "last_checkpoint"]

EVERY = "ADAMERGEX_CHECKPOINT_SECONDS"
"""The environment variable that says how long between two checkpoints, in seconds."""

_DEFAULT_SECONDS = 300.0
_COMPLETE = "complete.json"


class CheckpointWriter(TrainerCallback):
    """Has a trainer write checkpoints by the clock, and keeps the last whole one.

    By the clock, not by the step: a step may take milliseconds or minutes.

    Args:
        trainer: Its `losses` are kept with each checkpoint.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._accelerator = trainer.accelerator
        self._every = float(os.environ.get(EVERY, _DEFAULT_SECONDS))
        self._last = time.monotonic()

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """See transformers' TrainerCallback."""
        due = time.monotonic() - self._last >= self._every
        if self._accelerator.num_processes > 1:  # all save, or none: they wait for each other
            found = torch.tensor(float(due), device=self._accelerator.device)
            due = bool(self._accelerator.reduce(found, "max"))
        if due and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Marks the checkpoint that was just written as whole; then older ones can go."""
        self._last = time.monotonic()
        self._accelerator.wait_for_everyone()  # each writes a part of it
        if not self._accelerator.is_main_process:
            return
        folder = Path(args.output_dir)
        written = folder / f"checkpoint-{state.global_step}"
        draft = written / f".{_COMPLETE}"
        draft.write_text(json.dumps(self._trainer.losses), encoding="utf-8")
        draft.rename(written / _COMPLETE)
        for other in folder.glob("checkpoint-*"):
            if other != written:
                shutil.rmtree(other)


def last_checkpoint(folder: Path) -> tuple[Path, list[float]] | None:
    """The last whole checkpoint in a trainer's folder, and the losses until then."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_COMPLETE}")]
    if not whole:
        return None
    last = max(whole, key=lambda path: int(path.name.rpartition("-")[2]))
    return last, json.loads((last / _COMPLETE).read_text(encoding="utf-8"))
