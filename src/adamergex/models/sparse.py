"""Sparse fine-tunings on disk: the differences of a few weights from the base model's.

A folder holds sparse_diff.safetensors, with NAME.index (int32, flat positions, rising) and
NAME.value (float32) for each weight NAME that differs, and sparse_config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from adamergex.checkpoint import NDArray, write_json
from adamergex.errors import InputError
from adamergex.models.landing import nearest
from adamergex.plain import check_downloaded

__all__ = ["add_sparse", "is_sparse", "read_sparse", "sparse_changes", "write_sparse"]

WEIGHTS_FILE = "sparse_diff.safetensors"
CONFIG_FILE = "sparse_config.json"

Sparse = Mapping[str, tuple[NDArray, NDArray]]
"""Weight -> flat positions (k,), and the differences there (k,)."""


def is_sparse(folder: Path) -> bool:
    """Whether a folder holds a sparse fine-tuning rather than a PEFT adapter."""
    return (folder / WEIGHTS_FILE).is_file()


def write_sparse(folder: Path, found: Sparse, facts: Mapping[str, Any]) -> None:
    """Writes a sparse fine-tuning; `facts` go into its config."""
    folder.mkdir(parents=True)
    tensors: dict[str, NDArray] = {}
    for name, (index, value) in found.items():
        tensors[f"{name}.index"] = np.ascontiguousarray(index, np.int32)
        tensors[f"{name}.value"] = np.ascontiguousarray(value, np.float32)
    save_file(tensors, folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, {"schema": 1, **facts})


def read_sparse(folder: Path) -> dict[str, tuple[NDArray, NDArray]]:
    """A sparse fine-tuning, checked.

    Raises:
        InputError: A file that is not one; positions that do not rise, values that are not finite.
    """
    path = folder / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            check_downloaded(file.read(64), "a sparse fine-tuning", path)
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(path, found=str(error), needed="a sparse fine-tuning") from None
    found: dict[str, tuple[NDArray, NDArray]] = {}
    for name in sorted(key.removesuffix(".index") for key in tensors if key.endswith(".index")):
        index, value = tensors[f"{name}.index"], tensors.get(f"{name}.value")
        if value is None or index.ndim != 1 or index.shape != value.shape:
            raise InputError(path, name, found="index and value that differ", needed="one each")
        if index.dtype != np.int32 or value.dtype != np.float32 or not np.isfinite(value).all():
            raise InputError(path, name, found="other numbers", needed="int32 and finite float32")
        if len(index) and (index[0] < 0 or (np.diff(index) <= 0).any()):
            raise InputError(path, name, found="positions out of order", needed="rising ones")
        found[name] = (index, value)
    if 2 * len(found) != len(tensors):
        raise InputError(path, found=f"{len(tensors)} tensors", needed="an index for each value")
    return found


def sparse_changes(model: Any, folder: Path) -> list[tuple[Tensor, Tensor]]:
    """Each weight of a model that a sparse fine-tuning changes, with its change (dense).

    Raises:
        InputError: A weight that the model does not have, or a position outside it.
    """
    weights = dict(model.named_parameters())
    changes: list[tuple[Tensor, Tensor]] = []
    for name, (index, value) in read_sparse(folder).items():
        weight = weights.get(name)
        if weight is None:
            needed = f"a weight of the base model{nearest(name, weights)}"
            raise InputError(folder, found=name, needed=needed)
        if weight.dtype != torch.float32:
            found = str(weight.dtype).removeprefix("torch.")
            raise InputError("model_kwargs", name, found=found, needed="float32, to be changed")
        if len(index) and index[-1] >= weight.numel():
            raise InputError(folder, name, found=int(index[-1]), needed=f"below {weight.numel()}")
        change = torch.zeros(weight.numel(), dtype=weight.dtype, device=weight.device)
        change[torch.from_numpy(index).long()] = torch.from_numpy(value).to(change)
        changes.append((weight, change.reshape(weight.shape)))
    return changes


def add_sparse(folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """Writes the sum of sparse fine-tunings: what LT-SFT puts on the base (arXiv 2110.07560).

    Returns:
        kept: how many weights differ in the sum.
    """
    opened = [read_sparse(folder) for folder in folders]
    total: dict[str, tuple[NDArray, NDArray]] = {}
    for name in sorted({name for found in opened for name in found}):
        parts = [found[name] for found in opened if name in found]
        index, where = np.unique(np.concatenate([i for i, _ in parts]), return_inverse=True)
        value = np.zeros(len(index), np.float64)
        np.add.at(value, where, np.concatenate([v for _, v in parts]))
        total[name] = (index, value.astype(np.float32))
    kept = sum(len(index) for index, _ in total.values())
    config = json.loads((folders[0] / CONFIG_FILE).read_text(encoding="utf-8"))
    facts = {"base_model_name_or_path": config.get("base_model_name_or_path"), "kept": kept}
    write_sparse(output, total, facts)
    return {"kept": kept}
