"""The floating-point types that adapters are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import ml_dtypes
import numpy as np

__all__ = ["SAFETENSORS", "Dtype", "NDArray", "as_dtype", "numpy_dtype", "widest"]

Dtype: TypeAlias = Literal["float64", "float32", "float16", "bfloat16"]

NDArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SAFETENSORS: Mapping[str, Dtype] = MappingProxyType(
    {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
)
"""The code in a safetensors header -> our name, which is also NumPy's and PyTorch's."""


def as_dtype(name: str) -> Dtype | None:
    """`name` as a Dtype; None where it is not one."""
    return next((d for d in get_args(Dtype) if d == name), None)


def numpy_dtype(dtype: Dtype) -> np.dtype[Any]:
    """NumPy's dtype object; ml_dtypes adds bfloat16."""
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def widest(dtypes: Iterable[Dtype]) -> Dtype:
    """The narrowest type that holds every value of each of `dtypes`: float32 for both halves."""
    seen = set(dtypes)
    if len(seen) == 1:
        return seen.pop()
    return "float64" if "float64" in seen else "float32"
