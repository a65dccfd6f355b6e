"""A recipe as steps: pure but for reading the files that it names, and the same for the same."""

from adamergex.plan.experiment import planned
from adamergex.plan.leaks import check_leaks

__all__ = ["check_leaks", "planned"]
