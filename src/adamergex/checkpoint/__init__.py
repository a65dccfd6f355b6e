"""PEFT adapter folders on disk: read lazily, checked whole, written whole or not at all."""

from adamergex.checkpoint.base import (
    BUILTIN,
    base_fields,
    hub_base,
    is_builtin,
    known_base,
    notice_of_base,
)
from adamergex.checkpoint.card import CARD_FILE, Story, card, front_matter, plain_text
from adamergex.checkpoint.config import (
    CONFIG_FILE,
    AdapterConfig,
    Ia3Config,
    LoraConfig,
    PrefixConfig,
    read_config,
)
from adamergex.checkpoint.dtypes import Dtype, NDArray, as_dtype, numpy_dtype, widest
from adamergex.checkpoint.hub import commit, is_repository, pinned
from adamergex.checkpoint.manifest import MANIFEST_FILE, versions
from adamergex.checkpoint.names import checked_name
from adamergex.checkpoint.parts import layer_of, model_module
from adamergex.checkpoint.reader import (
    WEIGHTS_FILE,
    Checkpoint,
    TensorInfo,
    cut_short,
    open_checkpoint,
    open_tensors,
)
from adamergex.checkpoint.serving import obstacles, serving_rank
from adamergex.checkpoint.targets import named_targets, targets
from adamergex.checkpoint.writer import check_output, staged, tensor_file, write_json

__all__ = [
    "BUILTIN",
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
    "Story",
    "TensorInfo",
    "as_dtype",
    "base_fields",
    "card",
    "check_output",
    "checked_name",
    "commit",
    "cut_short",
    "front_matter",
    "hub_base",
    "is_builtin",
    "is_repository",
    "known_base",
    "layer_of",
    "model_module",
    "named_targets",
    "notice_of_base",
    "numpy_dtype",
    "obstacles",
    "open_checkpoint",
    "open_tensors",
    "pinned",
    "plain_text",
    "read_config",
    "serving_rank",
    "staged",
    "targets",
    "tensor_file",
    "versions",
    "widest",
    "write_json",
]
