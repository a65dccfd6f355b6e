"""The floating-point types that adapters are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, get_args

import ml_dtypes
import numpy as np

__all__ = ["SAFETENSORS", "Dtype", "NDArray", "all_finite", "as_dtype", "numpy_dtype", "widest"]

Dtype: TypeAlias = Literal["float64", "float32", "float16", "bfloat16"]

NDArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SAFETENSORS: Mapping[str, Dtype] = MappingProxyType(
    {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
)
"""The code in a safetensors header -> our name, which is also NumPy's and PyTorch's."""


_NUMPY: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {d: np.dtype(ml_dtypes.bfloat16 if d == "bfloat16" else d) for d in get_args(Dtype)}
)


def as_dtype(name: str) -> Dtype | None:
    """`name` as a Dtype; None where it is not one."""
    return cast(Dtype, name) if name in _NUMPY else None


def numpy_dtype(dtype: Dtype) -> np.dtype[Any]:
    """NumPy's dtype object."""
    return _NUMPY[dtype]


def all_finite(x: NDArray) -> bool:
    """Whether no element is NaN or infinite."""
    if x.size and x.dtype == numpy_dtype("bfloat16"):
        # The bits of +inf, and of NaN after it, are the largest as signed integers, those of -inf
        # as unsigned ones: comparing them takes a fifth of the time of ml_dtypes' isfinite.
        bits: Any = x
        return bool(bits.view(np.int16).max() < 0x7F80 and bits.view(np.uint16).max() < 0xFF80)
    return bool(np.all(np.isfinite(x)))


def widest(dtypes: Iterable[Dtype]) -> Dtype:
    """The narrowest type that holds every value of each of `dtypes`: float32 for both halves."""
    seen = set(dtypes)
    if len(seen) == 1:
        return seen.pop()
    return "float64" if "float64" in seen else "float32"
