"""Losses sent to a tracker: transformers' own callbacks, each training a run of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.integrations.integration_utils import TensorBoardCallback

__all__ = ["place", "reported"]


def place(trainer: Any, folder: str | None) -> None:
    """Has TensorBoard's files written there; they would go with the checkpoints."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = folder


@contextmanager
def reported(training: Mapping[str, Any]) -> Generator[None]:
    """Ends a run of Weights & Biases with its training: its callback would go on in it."""
    if "wandb" not in training.get("report_to", ()):
        yield
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    running = _wandb_run()
    try:
        yield
    finally:
        if running is None and _wandb_run() is not None:
            sys.modules["wandb"].finish()


def _wandb_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
