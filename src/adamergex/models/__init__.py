"""Backbones and tokenizers, loaded once in a process."""

from adamergex.models.backbone import Backbone, backbone
from adamergex.models.builtin import BUILTIN, cache_folder, prepared

__all__ = ["BUILTIN", "Backbone", "backbone", "cache_folder", "prepared"]
