"""Where an adapter is: a folder here, or an id on the Hugging Face Hub; what is there now."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError, InputError

__all__ = ["commit", "is_repository", "pinned", "resolved"]

_HUB_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
_REPOSITORY = rf"{_HUB_ID}|[A-Za-z0-9][A-Za-z0-9._-]*"
_FILES = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]


def is_repository(name: str) -> bool:
    """Whether it is an id on the Hub by its looks: org/name, or name."""
    return re.fullmatch(_REPOSITORY, name) is not None


def resolved(source: str | Path) -> Path:
    """The local folder of an adapter; one on the Hub is downloaded into its usual cache first.

    Raises:
        InputError: Neither a folder here nor a Hub id; or a Hub id without huggingface_hub.
        AdamergexError: The download failed.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or not re.fullmatch(_HUB_ID, str(source)):
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


def pinned(model: str) -> str:
    """A Hub model with the commit that it is at now: org/name@commit, of org/name@revision too.

    What is no Hub id, or of which no commit is known, is returned as it is.
    """
    repository, _, revision = model.partition("@")
    if not is_repository(repository):
        return model
    found = commit(repository, "model", revision or None)
    return f"{repository}@{found}" if found else model


@lru_cache(maxsize=1024)
def commit(repository: str, kind: str, revision: str | None = None) -> str | None:
    """The commit, 40 hexadecimal digits, of a revision on the Hub; of the default branch if None.

    A process asks once: all steps of a plan read the same. Where the Hub cannot be reached, it is
    the commit in the local cache; None where that has none, or there is no such repository.

    Args:
        repository: Its id.
        kind: `model` or `dataset`.
        revision: A branch, a tag, or a commit.
    """
    try:
        hub: Any = import_module("huggingface_hub")
        found = hub.HfApi().resolve_revision(
            repository,
            repo_type=kind,
            revision=revision,
            local_files_only=hub.constants.HF_HUB_OFFLINE,
        )
    except Exception:  # of many kinds, as above; whoever reads from there says what is wrong
        return None
    return str(found.resolved)
