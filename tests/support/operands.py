"""Operands for the laws of the algebra, as NumPy or PyTorch arrays.

Entries are multiples of 1/64 in [-4, 4]: exact in float32, so that a law which holds without
rounding can be tested for equality, and never subnormal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as numpy_namespace
import array_api_compat.torch as torch_namespace
import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adamergex.algebra import (
    Additive,
    Geometric,
    LowRank,
    Multiplicative,
    Prefix,
    Structure,
    WeightSpace,
)

NAMESPACES = {"numpy": numpy_namespace, "torch": torch_namespace}
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}

scales = st.floats(-3, 3).filter(lambda t: t == 0 or abs(t) > 1e-6)


def grid(shape: tuple[int, ...], lowest: int = -256, highest: int = 256) -> st.SearchStrategy:
    """Arrays of multiples of 1/64."""
    whole = hnp.arrays(np.int64, shape, elements=st.integers(lowest, highest))
    return whole.map(lambda x: x / 64)


def array(xp: Any, x: np.ndarray, dtype: str = "float64") -> Any:
    """A fresh array of library `xp` with the values of `x`."""
    return xp.astype(xp.asarray(np.array(x)), getattr(xp, dtype))


def as_numpy(x: Any) -> np.ndarray:
    """The values of an array of either library, in float64."""
    return np.asarray(x.double() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


@dataclass(frozen=True)
class Case:
    """One structure and how its operands are drawn.

    Attributes:
        structure: The rule under test.
        shapes: Draws the shapes of one operand's arrays: one for T, one for each reference.
        lowest: Smallest entry, in 64ths: above 0 where a law needs nothing guarded.
    """

    structure: Structure
    shapes: Callable[[st.DrawFn], list[list[tuple[int, ...]]]]
    lowest: int = -256

    @st.composite
    @staticmethod
    def _drawn(draw: st.DrawFn, case: Case) -> list[list[np.ndarray]]:
        return [[draw(grid(s, case.lowest)) for s in operand] for operand in case.shapes(draw)]

    def triples(self) -> st.SearchStrategy[list[list[np.ndarray]]]:
        """T, Rt and Rs, each a list of NumPy arrays."""
        return Case._drawn(self)


def operand(xp: Any, arrays: list[np.ndarray], dtype: str) -> Any:
    """One array as it is; two as the factors b, a of a low-rank product."""
    made = [array(xp, x, dtype) for x in arrays]
    return made[0] if len(made) == 1 else LowRank(*made)


def parts(x: Any) -> list[Any]:
    """The arrays that an operand is made of."""
    return [x.b, x.a] if isinstance(x, LowRank) else [x]


def dense(x: Any) -> np.ndarray:
    """The values of an operand, multiplied out, in float64."""
    return as_numpy(x.b) @ as_numpy(x.a) if isinstance(x, LowRank) else as_numpy(x)


def _same_shape(draw: st.DrawFn) -> list[list[tuple[int, ...]]]:
    shape = draw(hnp.array_shapes(max_dims=3, max_side=4))
    return [[shape]] * 3


def _matrices(draw: st.DrawFn) -> list[list[tuple[int, ...]]]:
    tokens, dim = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return [[(tokens, dim)]] * 3


def _products(draw: st.DrawFn) -> list[list[tuple[int, ...]]]:
    m, n = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    ranks = [draw(st.integers(1, 4)) for _ in range(3)]
    return [[(m, r), (r, n)] for r in ranks]


CASES = {
    "additive": Case(Additive(), _same_shape),
    "weight-space": Case(WeightSpace(), _products),
    "multiplicative": Case(Multiplicative(), _same_shape),
    "geometric": Case(Geometric(), _same_shape),
    "prefix": Case(Prefix(), _matrices),
}
"""Every structure, with operands that may need its guards."""

UNGUARDED = {
    "additive": CASES["additive"],
    "weight-space": CASES["weight-space"],
    "multiplicative": Case(Multiplicative(), _same_shape, lowest=1),
    "geometric": Case(Geometric(), _same_shape, lowest=1),
}
"""Structures that turn Rs into Rt exactly, on operands where nothing is guarded."""
