"""The algebra of adapter merging: arrays in, arrays out.

Written against the Python Array API standard, so that the same formulas serve NumPy, PyTorch and
JAX arrays. It opens no file, logs nothing, changes no argument and knows no model.
"""

from collections.abc import Mapping
from types import MappingProxyType

from adamergex.algebra.additive import Additive
from adamergex.algebra.arrays import wide
from adamergex.algebra.ia3 import Geometric, Multiplicative, Ratio
from adamergex.algebra.lowrank import (
    LowRank,
    Truncated,
    WeightSpace,
    concatenated,
    inner,
    truncated,
)
from adamergex.algebra.prefix import Prefix
from adamergex.algebra.structure import Structure, transferred

__all__ = [
    "STRUCTURES",
    "Additive",
    "Geometric",
    "LowRank",
    "Multiplicative",
    "Prefix",
    "Ratio",
    "Structure",
    "Truncated",
    "WeightSpace",
    "concatenated",
    "inner",
    "transferred",
    "truncated",
    "wide",
]

STRUCTURES: Mapping[tuple[str, str], Structure] = MappingProxyType(
    {
        ("LORA", "weight"): WeightSpace(),
        ("LORA", "factor"): Additive(),
        ("IA3", "linear"): Multiplicative(),
        ("IA3", "geometric"): Geometric(),
        ("PREFIX_TUNING", "pseudo-inverse"): Prefix(),
        ("PREFIX_TUNING", "additive"): Additive(),
    }
)
"""PEFT type and space -> the rule."""
