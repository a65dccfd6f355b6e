"""What all the algebra needs of an array, through the Python Array API standard."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from adamergex.errors import InputError

Array: TypeAlias = Any
"""An array of any library that array-api-compat knows: NumPy, PyTorch, JAX, CuPy, Dask."""

Namespace: TypeAlias = Any
"""That library's functions under their standard names."""


def namespace(*arrays: Array) -> Namespace:
    """The one array library that all of `arrays` belong to."""
    if all(isinstance(x, np.ndarray) for x in arrays):
        # It has the standard's names, if not its tolerances; the wrapper takes 0.1 s to load.
        return np
    from array_api_compat import array_namespace

    return array_namespace(*arrays)


def device_of(x: Array) -> Any:
    """Where an array lies, as its library's constructors take it."""
    from array_api_compat import device  # pyright: ignore[reportUnknownVariableType]

    return device(x)


def wide(x: Array, name: str = "array") -> Array:
    """`x` in float32, or in float64 where it is already, checked to be finite.

    Half-precision inputs are widened so that sums and products accumulate in float32 or better.

    Raises:
        InputError: `x` holds NaN or infinity.
    """
    x, xp = widened(x), namespace(x)
    if not bool(xp.all(xp.isfinite(x))):
        raise InputError(name, found="NaN or infinity", needed="finite values")
    return x


def widened(x: Array) -> Array:
    """The same without the check."""
    xp = namespace(x)
    return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32)


def same_shape(a: Array, b: Array, name: str = "array") -> None:
    """Raises InputError unless `a` and `b` have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        raise InputError(name, found=tuple(a.shape), needed=tuple(b.shape))


def finite_scale(t: float) -> float:
    """`t` as a float.

    Raises:
        InputError: `t` is NaN or infinite.
    """
    if not math.isfinite(t):
        raise InputError("scale", found=t, needed="a finite number")
    return float(t)
