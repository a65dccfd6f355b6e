"""Checkpoints merged into one, streamed module by module.

What compares adapters, or combines them in other ways, is imported from its module.
"""

from adamergex.merging.api import Merged, merge
from adamergex.merging.options import Ia3Rule, MergeOptions, Space
from adamergex.merging.saving import Outcome
from adamergex.merging.sums import update
from adamergex.merging.weights import combine

__all__ = ["Ia3Rule", "MergeOptions", "Merged", "Outcome", "Space", "combine", "merge", "update"]
