"""The frozen weights of a base in bfloat16 while an adapter is trained on it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from adamergex.models import Backbone

__all__ = ["frozen_in_bfloat16"]


@contextmanager
def frozen_in_bfloat16(backbone: Backbone) -> Generator[None]:
    """Has autocast find the frozen linear layers in its own type; afterwards they are as before.

    It would round each of them at each use. Weights that bfloat16 holds exactly, as most models
    come, are not kept beside it: they take half the memory meanwhile.
    """
    model = backbone.model
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    others = {id(p) for module in ends if module is not None for p in module.parameters()}
    # An encoder's layers may be those of the model with another head, too.
    kept = backbone.family == "encoder"
    before: list[tuple[Any, Tensor | None]] = []
    try:
        for weight in (m.weight for m in model.modules() if type(m) is torch.nn.Linear):
            if _is_frozen(weight) and id(weight) not in others:
                narrow = weight.data.bfloat16()
                exact = not kept and torch.equal(narrow.float(), weight.data)
                before.append((weight, None if exact else weight.data))
                weight.data = narrow
        yield
    finally:
        for weight, wide in before:
            weight.data = weight.data.float() if wide is None else wide


def _is_frozen(weight: Tensor) -> bool:
    """Whether it is a whole weight in float32 that is not trained."""
    whole = weight.dtype == torch.float32 and not isinstance(weight, DTensor)
    return whole and not weight.requires_grad
