"""One (model, adapter, task, language) scored."""

from adamergex.score.choices import likelihoods
from adamergex.score.generation import generations
from adamergex.score.measure import each_scored, ensembled, measured, scored
from adamergex.score.statistics import mean, standard_error
from adamergex.score.teaching import (
    Taught,
    TaughtChoices,
    TaughtTokens,
    read_taught,
    taught,
    write_taught,
)

__all__ = [
    "Taught",
    "TaughtChoices",
    "TaughtTokens",
    "each_scored",
    "ensembled",
    "generations",
    "likelihoods",
    "mean",
    "measured",
    "read_taught",
    "scored",
    "standard_error",
    "taught",
    "write_taught",
]
