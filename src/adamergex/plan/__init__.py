"""A recipe as steps: pure but for reading the files that it names, and the same for the same."""

from adamergex.plan.experiment import planned

__all__ = ["planned"]
