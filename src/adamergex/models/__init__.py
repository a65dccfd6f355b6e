"""Backbones and tokenizers, loaded once in a process."""

from adamergex.models.backbone import Backbone, Tokens, backbone, has_prefix, last_hidden
from adamergex.models.builtin import BUILTIN, cache_folder, prepared

__all__ = [
    "BUILTIN",
    "Backbone",
    "Tokens",
    "backbone",
    "cache_folder",
    "has_prefix",
    "last_hidden",
    "prepared",
]
