"""Where things are kept that can be made, or fetched, again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """$ADAMERGEX_CACHE, else a folder in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adamergex"
    return Path(os.environ.get("ADAMERGEX_CACHE") or default)
