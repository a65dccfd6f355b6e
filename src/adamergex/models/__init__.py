"""Backbones and tokenizers, loaded once in a process."""

from adamergex.models.backbone import Backbone, Tokens, backbone, decoder_of, prefixed
from adamergex.models.builtin import BUILTIN, cache_folder, prepared

__all__ = [
    "BUILTIN",
    "Backbone",
    "Tokens",
    "backbone",
    "cache_folder",
    "decoder_of",
    "prefixed",
    "prepared",
]
