"""The base model on disk: where it lies, and which files hold its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from adamergex.checkpoint import (
    BUILTIN,
    CONFIG_FILE,
    MANIFEST_FILE,
    NDArray,
    TensorInfo,
    is_builtin,
    open_tensors,
    read_config,
)
from adamergex.errors import AdamergexError, InputError
from adamergex.plain import parsed_json, text_of

__all__ = ["INDEX", "Shard", "base_folder", "base_name", "model_config", "shards"]

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_LARGEST = 4 * 2**20
_LARGEST_INDEX = 64 * 2**20


@dataclass(frozen=True)
class Shard:
    """One file of a model's tensors.

    Attributes:
        name: The file's name.
        tensors: Tensor name -> shape and dtype.
        read: Gives a tensor by its name.
    """

    name: str
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], NDArray]


def base_name(adapter: Path) -> str:
    """The base model that an adapter's folder names, as it is to be loaded.

    Raises:
        InputError: It names none.
    """
    manifest, config = adapter / MANIFEST_FILE, read_config(adapter / CONFIG_FILE)
    made: Any = {}
    if manifest.is_file():
        made = parsed_json(text_of(manifest, _LARGEST, "a merge's manifest"), manifest)
    stated = config.stated.get("base_model_name_or_path")
    if is_builtin(stated) or (isinstance(made, dict) and made.get("builtin")):
        return BUILTIN
    if not stated:
        raise InputError(adapter, "base_model_name_or_path", found="none", needed="--model NAME")
    return f"{stated}@{config.revision}" if config.revision else stated


def base_folder(model: str) -> Path:
    """Where a base model lies; one of the Hub is downloaded into its usual cache first.

    Args:
        model: A folder, a Hub id, org/name@revision, or `builtin:gemma-3-270m`.

    Raises:
        AdamergexError: There is no such folder, and the download failed.
    """
    if Path(model).is_dir():
        return Path(model)
    if model == BUILTIN:
        from adamergex.models import prepared

        return prepared()
    repository, _, revision = model.partition("@")
    try:
        hub: Any = import_module("huggingface_hub")
        return Path(
            hub.snapshot_download(repository, revision=revision or None, allow_patterns=_FILES)
        )
    except Exception as error:  # of many kinds: network, HTTP, authentication, offline mode
        text = str(error).partition("\n")[0]
        needed = "--model FOLDER, where the base model lies"
        raise AdamergexError(
            f"{model}: no such folder here, and not from the Hub: {text}; needed {needed}"
        ) from error


def model_config(folder: Path) -> dict[str, Any]:
    """What config.json of a model says.

    Raises:
        InputError: There is none; the model is quantised, so that nothing can be folded into it.
    """
    path = folder / "config.json"
    config: Any = parsed_json(text_of(path, _LARGEST, "a model's config"), path)
    if not isinstance(config, dict):
        raise InputError(path, found=type(config).__name__, needed="a JSON object")
    if config.get("quantization_config"):
        found = config["quantization_config"].get("quant_method", "quantised")
        needed = "plain weights: --model with the model that it was quantised from"
        raise InputError(path, "quantization_config", found=found, needed=needed)
    return config


def shards(folder: Path) -> list[Shard]:
    """The files of a model's tensors, opened: of each only the header is read.

    Raises:
        InputError: There are none in safetensors; a file of the index is missing.
    """
    index = folder / INDEX
    names: set[Any] = {_SINGLE}
    if index.is_file():
        found: Any = parsed_json(text_of(index, _LARGEST_INDEX, "a model's index"), index)
        places = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
            raise InputError(index, "weight_map", found=type(places).__name__, needed="file names")
        names = set(places.values())
    for name in sorted(names):
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(folder, name, found="no such file", needed="a model in safetensors")
    opened = [(name, *open_tensors(folder / name)) for name in sorted(names)]
    return [Shard(name, tensors, read) for name, read, tensors in opened]
