"""Three checkpoints merged into one, streamed module by module."""

from adamergex.merging.api import Merged, Outcome, merge
from adamergex.merging.inspection import Gram, compared, described, gram
from adamergex.merging.options import Ia3Rule, MergeOptions, Space

__all__ = [
    "Gram",
    "Ia3Rule",
    "MergeOptions",
    "Merged",
    "Outcome",
    "Space",
    "compared",
    "described",
    "gram",
    "merge",
]
