"""PEFT adapter folders on disk: read lazily, checked whole, written whole or not at all."""

from adamergex.checkpoint.config import (
    CONFIG_FILE,
    AdapterConfig,
    Ia3Config,
    LoraConfig,
    PrefixConfig,
    read_config,
)
from adamergex.checkpoint.dtypes import Dtype, NDArray, as_dtype, numpy_dtype, widest
from adamergex.checkpoint.hub import commit, pinned
from adamergex.checkpoint.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    card,
    versions,
)
from adamergex.checkpoint.names import checked_name
from adamergex.checkpoint.parts import layer_of, model_module
from adamergex.checkpoint.reader import (
    WEIGHTS_FILE,
    Checkpoint,
    TensorInfo,
    cut_short,
    open_checkpoint,
)
from adamergex.checkpoint.serving import obstacles, serving_rank
from adamergex.checkpoint.targets import named_targets, targets
from adamergex.checkpoint.writer import check_output, staged, tensor_file, write_json

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "MANIFEST_FILE",
    "WEIGHTS_FILE",
    "AdapterConfig",
    "Checkpoint",
    "Dtype",
    "Ia3Config",
    "LoraConfig",
    "NDArray",
    "PrefixConfig",
    "TensorInfo",
    "as_dtype",
    "card",
    "check_output",
    "checked_name",
    "commit",
    "cut_short",
    "layer_of",
    "model_module",
    "named_targets",
    "numpy_dtype",
    "obstacles",
    "open_checkpoint",
    "pinned",
    "read_config",
    "serving_rank",
    "staged",
    "targets",
    "tensor_file",
    "versions",
    "widest",
    "write_json",
]
