"""`adapter_model.bin`, PEFT's format before 2024: a pickle, read only on request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from adamergex.checkpoint.dtypes import NDArray, numpy_dtype
from adamergex.errors import AdamergexError, InputError
from adamergex.plain import check_downloaded

__all__ = ["read_pickle"]


def read_pickle(path: Path, *, allowed: bool) -> Mapping[str, NDArray]:
    """The tensors of a pickled state dictionary, all of them in memory.

    PyTorch's restricted unpickler (weights_only) builds tensors and containers and nothing else.

    Raises:
        InputError: Not allowed, not such a pickle or what a broken download leaves, or anything in
            it that is not a tensor.
        AdamergexError: PyTorch is not installed.
    """
    with path.open("rb") as file:
        check_downloaded(file.read(64), "a pickled state dictionary", path)
    if not allowed:
        needed = "safetensors, or --allow-pickle if you trust where this came from"
        raise InputError(path, found="a pickle", needed=needed)
    try:
        import torch
    except ImportError:
        raise AdamergexError(f"{path}: reading a pickle needs torch: pip install torch") from None
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can raise anything
        found = f"{type(error).__name__} {error}".partition("\n")[0]
        raise InputError(path, found=found, needed="a pickled state dictionary") from None
    if not isinstance(loaded, dict):
        raise InputError(path, found=type(loaded).__name__, needed="a dictionary of tensors")
    tensors: dict[str, NDArray] = {}
    for name, value in cast(dict[Any, Any], loaded).items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError(path, name, found=type(value).__name__, needed="a tensor")
        if value.layout is not torch.strided or value.nbytes > path.stat().st_size:
            # A view can repeat one number without end, and sparse ones name any shape.
            needed = "a dense tensor, every number of it in the file"
            raise InputError(path, name, found=f"{tuple(value.shape)}", needed=needed)
        tensors[name] = _as_numpy(value)
    return tensors


def _as_numpy(tensor: Any) -> NDArray:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(numpy_dtype("bfloat16"))
    return np.asarray(tensor.numpy())
