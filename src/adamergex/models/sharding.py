"""A base model's layers divided among the processes that share a training (FSDP2).

Only frozen weights are: each process holds its part of every layer, and has the whole of one while
it computes with it. The adapter, a fraction of a hundredth, is whole in each, as are embeddings.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from adamergex.errors import InputError

__all__ = ["divided", "dividing", "like"]

_MESH: ContextVar[Any] = ContextVar("mesh", default=None)


@contextmanager
def dividing() -> Generator[None]:
    """Has every decoder that is loaded within it divided among this process and its siblings."""
    from accelerate import PartialState
    from torch.distributed.device_mesh import init_device_mesh

    cpu = not torch.cuda.is_available()
    count = PartialState(cpu=cpu).num_processes  # which lets them know of each other
    token = _MESH.set(init_device_mesh("cpu" if cpu else "cuda", (count,)))
    try:
        yield
    finally:
        _MESH.reset(token)


def divided(name: str, model: Any) -> Any:
    """The model with the weights of its layers divided, within `dividing`; else as it is.

    Raises:
        InputError: A model that does not say which modules are its layers, or is no decoder.
    """
    mesh = _MESH.get()
    if mesh is None:
        return model
    from torch.distributed.fsdp import fully_shard

    kinds = set(getattr(model, "_no_split_modules", None) or ())
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    layers = [m for m in decoder.modules() if type(m).__name__ in kinds]
    if not layers:
        needed = "false: this model does not say what its layers are"
        raise InputError("parallel", "shard", found=f"true, for {name}", needed=needed)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    # The one that fetches the next layer while one computes; it divides nothing more.
    fully_shard(decoder, mesh=mesh, ignored_params=_whole(decoder))
    return model


def like(value: Tensor, weight: Tensor) -> Tensor:
    """A tensor, the same in all processes, of a weight's type and place, and divided as it is."""
    value = value.to(device=weight.device, dtype=weight.dtype)
    if isinstance(weight, DTensor):
        return distribute_tensor(value, weight.device_mesh, weight.placements)
    return value


def _whole(module: Any) -> set[Any]:
    return {p for p in module.parameters() if not isinstance(p, DTensor)}
