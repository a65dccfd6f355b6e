"""A decoder's last layer, of which only a few tokens' states are asked for.

Keys and values are needed of every token; what follows in that layer, at a token by itself, only
where a state is read. In a model of 18 layers this is a twentieth of a forward pass.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module

__all__ = ["asked_only", "asking"]

_Places = tuple[Any, Any]

_ASKED: ContextVar[tuple[_Places, torch.Size] | None] = ContextVar("asked", default=None)
"""The places, and rows and length. Of this thread: others may run the model for other places."""


def asked_only(model: Any) -> None:
    """Lets a decoder's last layer leave out, within `asking`, what nobody asks for.

    Outside of it, and where the layer is built in another way than most, nothing changes.

    Args:
        model: The base model.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    if not layers:
        return
    modules = dict(layers[-1].named_modules())
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp"):
        module = modules.get(name)
        if module is not None and _is_dense(module):
            module.register_forward_pre_hook(_narrowed)
            module.register_forward_hook(_widened)


@contextmanager
def asking(ids: Tensor, places: _Places | None) -> Generator[None]:
    """The states of a forward pass within are what they should be at these places only.

    Args:
        ids: What is run, (rows, length).
        places: An index of those; in rising order where they are in one row. None for all.
    """
    token = _ASKED.set(None if places is None else (places, ids.shape))
    try:
        yield
    finally:
        _ASKED.reset(token)


def _is_dense(module: Module) -> bool:
    """Whether a module has no weights but those of linear layers: no token sees another."""
    owners = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    return all(isinstance(owner, Linear) for owner in owners)


def _narrowed(_: Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Of the input, (rows, length, width), the places: (1, places, width)."""
    asked = _ASKED.get()
    return None if asked is None or not inputs else (inputs[0][asked[0]][None], *inputs[1:])


def _widened(_: Module, __: tuple[Any, ...], output: Tensor) -> Tensor | None:
    """The output at its places, and nothing at the others."""
    asked = _ASKED.get()
    if asked is None or output.shape[:-1] == asked[1]:
        return None
    places, shape = asked
    whole = output.new_zeros(*shape, output.shape[-1])
    whole[places] = output[0]
    return whole
