"""One adapter trained."""

from adamergex.train.adapter import train_adapter, vocabulary_of
from adamergex.train.distillation import distil
from adamergex.train.lessons import divergence
from adamergex.train.sparse import train_sparse
from adamergex.train.structures import adapter_config, initialised, untrained
from adamergex.train.trainer import AdapterTrainer

__all__ = [
    "AdapterTrainer",
    "adapter_config",
    "distil",
    "divergence",
    "initialised",
    "train_adapter",
    "train_sparse",
    "untrained",
    "vocabulary_of",
]
