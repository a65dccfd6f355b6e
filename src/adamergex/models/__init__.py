"""Backbones and tokenizers, loaded once in a process, and what is put on them."""

from adamergex.models.attention import window
from adamergex.models.backbone import Backbone
from adamergex.models.builtin import BUILTIN, cache_folder, prepared
from adamergex.models.forward import (
    Prompts,
    alike,
    bfloat16_products,
    continued,
    has_prefix,
    last_hidden,
    padded,
    prefilled,
)
from adamergex.models.head import Head
from adamergex.models.loading import (
    backbone,
    backbone_family,
    own_backbone,
    tokenizer,
    unload,
)
from adamergex.models.sharding import dividing
from adamergex.models.sparse import add_sparse, read_sparse, write_sparse
from adamergex.models.states import answer_states, forced_states, prompt_ids
from adamergex.models.threads import at_once, in_threads
from adamergex.models.tokens import Tokens, shortened

__all__ = [
    "BUILTIN",
    "Backbone",
    "Head",
    "Prompts",
    "Tokens",
    "add_sparse",
    "alike",
    "answer_states",
    "at_once",
    "backbone",
    "backbone_family",
    "bfloat16_products",
    "cache_folder",
    "continued",
    "dividing",
    "forced_states",
    "has_prefix",
    "in_threads",
    "last_hidden",
    "own_backbone",
    "padded",
    "prefilled",
    "prepared",
    "prompt_ids",
    "read_sparse",
    "shortened",
    "tokenizer",
    "unload",
    "window",
    "write_sparse",
]
