"""Where an adapter is: a folder here, or an id on the Hugging Face Hub."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError, InputError

__all__ = ["resolved"]

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FILES = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]


def resolved(source: str | Path) -> Path:
    """The local folder of an adapter; one on the Hub is downloaded into its usual cache first.

    Raises:
        InputError: Neither a folder here nor a Hub id; or a Hub id without huggingface_hub.
        AdamergexError: The download failed.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or not _HUB_ID.fullmatch(str(source)):
        found = "a file" if path.exists() else "no such folder"
        raise InputError(path, found=found, needed="a PEFT adapter folder or a Hub id (org/name)")
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError:
        needed = "a PEFT adapter folder, or huggingface_hub installed to look on the Hub"
        raise InputError(path, found="no such folder", needed=needed) from None
    try:
        return Path(hub.snapshot_download(str(source), allow_patterns=_FILES))
    except Exception as error:  # of many kinds: network, HTTP, authentication, offline mode
        text = str(error).partition("\n")[0]
        raise AdamergexError(
            f"{source}: no such folder here, and not from the Hub: {text}"
        ) from error
