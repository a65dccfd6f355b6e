"""One (model, adapter, task, language) scored."""

from adamergex.score.choices import likelihoods
from adamergex.score.generation import generations
from adamergex.score.measure import measured, scored
from adamergex.score.states import states_of
from adamergex.score.statistics import mean, paired_bootstrap, standard_error

__all__ = [
    "generations",
    "likelihoods",
    "mean",
    "measured",
    "paired_bootstrap",
    "scored",
    "standard_error",
    "states_of",
]
