"""Transfer methods by name: what each trains and builds."""

from collections.abc import Mapping
from types import MappingProxyType

from adamergex.methods.adamergex import adamergex
from adamergex.methods.add_reference import add_reference
from adamergex.methods.arimerge import arimerge
from adamergex.methods.fine_tuning import source_ft, target_ft
from adamergex.methods.projection import projection
from adamergex.methods.rows import Method, Row, Setting, Workshop
from adamergex.methods.zero_shot import zero_shot

__all__ = ["METHODS", "Method", "Row", "Setting", "Workshop"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "zero-shot": zero_shot,
        "source-ft": source_ft,
        "target-ft": target_ft,
        "arimerge": arimerge,
        "projection": projection,
        "add-reference": add_reference,
        "adamergex": adamergex,
    }
)
