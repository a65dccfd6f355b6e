"""Three checkpoints merged into one, streamed module by module."""

from adamergex.merging.api import Merged, merge
from adamergex.merging.combination import arimerge, layer_swap, weighted
from adamergex.merging.inspection import Gram, compared, described, gram
from adamergex.merging.lora import update
from adamergex.merging.options import Ia3Rule, MergeOptions, Space
from adamergex.merging.saving import Outcome

__all__ = [
    "Gram",
    "Ia3Rule",
    "MergeOptions",
    "Merged",
    "Outcome",
    "Space",
    "arimerge",
    "compared",
    "described",
    "gram",
    "layer_swap",
    "merge",
    "update",
    "weighted",
]
