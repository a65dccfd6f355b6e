"""A recipe as steps: pure, and the same for the same recipe."""

from adamergex.plan.experiment import planned

__all__ = ["planned"]
