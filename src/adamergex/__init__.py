"""Cross-lingual transfer of language models by adapter merging.

    target-task adapter in the target language = T ⊕ scale · (Rt ⊖ Rs)

`merge` is the whole of it for three adapters that exist, and `combine` adds any number with
weights; the rest of the package trains, measures and compares. Importing this package imports
nothing heavy: the names below load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adamergex.errors import AdamergexError, InputError
from adamergex.version import __version__

if TYPE_CHECKING:
    from adamergex.merging import Merged, combine, merge

__all__ = ["AdamergexError", "InputError", "Merged", "__version__", "combine", "merge"]


def __getattr__(name: str) -> Any:
    if name in ("Merged", "combine", "merge"):
        from adamergex import merging

        return getattr(merging, name)
    raise AttributeError(f"module 'adamergex' has no attribute {name!r}")
