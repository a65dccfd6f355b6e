"""One (model, adapter, task, language) scored."""

from adamergex.score.choices import predictions, scores
from adamergex.score.statistics import accuracy, majority, paired_bootstrap, standard_error

__all__ = [
    "accuracy",
    "majority",
    "paired_bootstrap",
    "predictions",
    "scores",
    "standard_error",
]
