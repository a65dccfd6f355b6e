"""An adapter put on the Hugging Face Hub: its card and its paths are checked first."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from adamergex.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    hub_base,
    is_repository,
    open_checkpoint,
)
from adamergex.errors import AdamergexError, InputError
from adamergex.plain import text_of

__all__ = ["checked_files", "push"]

_KINDS = (".json", ".md", ".safetensors", ".model", ".txt", ".jinja", ".yaml", ".gguf")
_TEXTS = (".json", ".md", ".txt", ".yaml")
_LARGEST = 64 * 2**20
_PLACES = re.compile(r"(?<![\w.:/~-])(~[/\\]|/(home|root|Users|tmp|mnt)/|[A-Z]:\\)\S+")
"""Paths that tell where something was made; not those of URLs."""


def push(folder: Path, repository: str, *, private: bool = False, dry_run: bool = False) -> Any:
    """Uploads an adapter in one commit to a repository, which is made if there is none.

    Args:
        folder: An adapter, or a model that an adapter was folded into.
        repository: ORG/NAME.
        private: Whether a new repository is private.
        dry_run: Whether to check only.

    Raises:
        InputError: What `checked_files` has; a name that is no repository's.
        AdamergexError: The Hub refused it, or cannot be reached.

    Returns:
        The files by name with their sizes, and the URL of the commit; None in a dry run.
    """
    if "/" not in repository or not is_repository(repository):
        raise InputError("repository", found=repository, needed="ORG/NAME")
    files = checked_files(folder)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    if dry_run:
        return sizes, None
    hub: Any = import_module("huggingface_hub")
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=sorted(files),
            commit_message="Upload by adamergex",
        )
    except Exception as error:  # of many kinds: network, HTTP, authentication, offline mode
        text = str(error).partition("\n")[0]
        raise AdamergexError(f"{repository}: {type(error).__name__}: {text}") from error
    return sizes, done.commit_url


def checked_files(folder: Path) -> dict[str, Path]:
    """The files to upload, by name, if nothing in them is wrong for others.

    Raises:
        InputError: No adapter or model; no card, or one whose front matter is no YAML; a base model
            that is a place on this machine; a file of another kind; a path in a text.
    """
    adapter = (folder / CONFIG_FILE).is_file()
    if not adapter and not (folder / "config.json").is_file():
        found = "no such folder" if not folder.is_dir() else f"no {CONFIG_FILE}"
        raise InputError(folder, found=found, needed="an adapter or a model")
    if adapter:
        _check_adapter(folder)
    files = {path.name: path for path in sorted(folder.iterdir()) if not path.name.startswith(".")}
    for name, path in files.items():
        if path.is_symlink() or not path.is_file() or path.suffix not in _KINDS:
            needed = f"files of {' '.join(_KINDS)} alone: move it away"
            raise InputError(folder, found=name, needed=needed)
    _check_card(folder / CARD_FILE)
    for path in files.values():
        if path.suffix in _TEXTS and path.name != "tokenizer.json":
            _check_paths(path)
    return files


def _check_adapter(folder: Path) -> None:
    opened = open_checkpoint(folder, allow_pickle=False)
    if opened.weights.name != WEIGHTS_FILE:
        raise InputError(opened.weights, found="a pickle", needed=WEIGHTS_FILE)
    base = opened.config.stated.get("base_model_name_or_path")
    if base is None or base != hub_base(base):
        needed = "the base's id on the Hub: --base-model of merge, base_model in a recipe"
        raise InputError(folder / CONFIG_FILE, "base_model_name_or_path", found=base, needed=needed)


def _check_card(path: Path) -> None:
    if not path.is_file():
        raise InputError(path, found="no such file", needed="a model card, as merge writes it")
    _, begin, rest = text_of(path, _LARGEST, "a model card").partition("---\n")
    front, end, _ = rest.partition("\n---")
    try:
        found: Any = yaml.safe_load(front) if begin and end else None
    except yaml.YAMLError as error:
        found = str(error).partition("\n")[0]
    if not isinstance(found, dict):
        raise InputError(path, "front matter", found=found or "none", needed="keys in YAML")


def _check_paths(path: Path) -> None:
    text = text_of(path, _LARGEST, "a text")
    found = _PLACES.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        needed = "no path of this machine: it would be published"
        raise InputError(path, f"line {line}", found=found[0][:80], needed=needed)
