"""`merge_manifest.json`: how a merged adapter came to be."""

from __future__ import annotations

from typing import Any

import numpy
import safetensors

from adamergex.version import __version__

__all__ = ["MANIFEST_FILE", "versions"]

MANIFEST_FILE = "merge_manifest.json"


def versions() -> dict[str, str]:
    """The versions of the packages that computed the numbers."""
    # importlib.metadata would take as long to load as all that is here.
    packages: list[Any] = [numpy, safetensors]
    return {"adamergex": __version__, **{x.__name__: x.__version__ for x in packages}}
