"""Transfer methods by name: what each trains and builds."""

from collections.abc import Mapping
from types import MappingProxyType

from adamergex.methods.adamergex import adamergex
from adamergex.methods.arimerge import arimerge
from adamergex.methods.catalog import Catalog
from adamergex.methods.ensemble import ensemble
from adamergex.methods.fine_tuning import few_shot, source_ft, target_ft, target_ft_fresh
from adamergex.methods.layer_swapping import layer_swapping
from adamergex.methods.lt_sft import lt_sft
from adamergex.methods.madx import madx
from adamergex.methods.projection import (
    projection,
    projection_from_t,
    projection_soft,
    projection_with_source,
)
from adamergex.methods.rows import Method, Row, Setting
from adamergex.methods.weighted import add_reference, language_task_arithmetic
from adamergex.methods.workshop import Workshop
from adamergex.methods.xlt import xlt
from adamergex.methods.zero_shot import zero_shot

__all__ = ["METHODS", "Catalog", "Method", "Row", "Setting", "Workshop"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "zero-shot": zero_shot,
        "xlt": xlt,
        "source-ft": source_ft,
        "target-ft": target_ft,
        "target-ft-fresh": target_ft_fresh,
        "few-shot": few_shot,
        "projection": projection,
        "projection-from-t": projection_from_t,
        "projection-soft": projection_soft,
        "projection-with-source": projection_with_source,
        "ensemble": ensemble,
        "arimerge": arimerge,
        "madx": madx,
        "lt-sft": lt_sft,
        "language-task-arithmetic": language_task_arithmetic,
        "layer-swapping": layer_swapping,
        "add-reference": add_reference,
        "adamergex": adamergex,
    }
)
