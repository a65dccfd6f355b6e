"""One adapter trained."""

from adamergex.train.adapter import adapter_config, initialised, train_adapter, vocabulary_of
from adamergex.train.trainer import AdapterTrainer

__all__ = ["AdapterTrainer", "adapter_config", "initialised", "train_adapter", "vocabulary_of"]
