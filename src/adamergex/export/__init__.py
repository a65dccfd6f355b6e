"""From an adapter to what servers load: the whole model, GGUF files, or T and the divergence."""

from adamergex.export.base import base_folder, base_name
from adamergex.export.gguf import export_gguf
from adamergex.export.merged import export_merged
from adamergex.export.split import export_split

__all__ = ["base_folder", "base_name", "export_gguf", "export_merged", "export_split"]
