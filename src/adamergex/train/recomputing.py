"""Layers that are run again on the way back, in place of keeping what they computed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel

from adamergex.errors import InputError
from adamergex.models import has_prefix

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(model: Any) -> Generator[None]:
    """Has a model keep only what goes into each layer while it is trained.

    The trainers' own way would leave the base so.

    Raises:
        InputError: The model has no such layers, or has a prefix on it, which is a cache: layers
            that are run again would be run without it.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if has_prefix(model) or not base.supports_gradient_checkpointing:
        found = "a prefix" if has_prefix(model) else type(base).__name__
        needed = "false: its layers cannot be run again"
        raise InputError("training", "gradient_checkpointing", found=found, needed=needed)
    # The word in later versions of transformers 5.
    word = "activation" if hasattr(base, "activation_checkpointing_enable") else "gradient"
    getattr(base, f"{word}_checkpointing_enable")({"use_reentrant": False})
    base.disable_input_require_grads()  # which only the reentrant way needs, and which would stay
    try:
        yield
    finally:
        getattr(base, f"{word}_checkpointing_disable")()
