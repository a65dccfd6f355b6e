"""The adapter folded into the base model, streamed tensor by tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adamergex.algebra import wide
from adamergex.checkpoint import (
    CARD_FILE,
    Checkpoint,
    Dtype,
    TensorInfo,
    base_fields,
    check_output,
    front_matter,
    hub_base,
    plain_text,
    staged,
    tensor_file,
    versions,
    write_json,
)
from adamergex.export.base import INDEX, Shard, model_config, shards
from adamergex.export.folding import Change, changes

__all__ = ["export_merged"]

_COPIED = (".json", ".model", ".txt", ".jinja")
"""Of the base's other files: config, tokenizer, templates; never code, nor weights."""


def export_merged(
    checkpoint: Checkpoint,
    base: Path,
    output: Path,
    *,
    dtype: Dtype | None = None,
    prompts: Sequence[str] = (),
    base_model: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the base model with an adapter folded in: one tensor at a time is in memory.

    Where there are prompts, the new model is compared with the base and adapter under PEFT before
    it is put in its place; that loads both, one after the other, in float32.

    Args:
        checkpoint: LoRA, DoRA or (IA)³.
        base: The folder of its base model, in safetensors.
        output: The folder to make.
        dtype: What to store in; None for the base's own.
        prompts: What to compare on.
        base_model: What the card calls the base; by default what the adapter has.
        overwrite: Whether a model that is there may be replaced.

    Raises:
        InputError: What does not fit the base, see folding.changes; a value that is not finite.
        AdamergexError: The new model answers otherwise.

    Returns:
        Facts for people: tensors, changed, dtypes, bytes, and what the comparison showed.
    """
    inputs = (checkpoint.folder, base)
    check_output(output, overwrite=overwrite, inputs=inputs, has="config.json")
    config, found = model_config(base), shards(base)
    known = {name: info for shard in found for name, info in shard.tensors.items()}
    change = changes(checkpoint, known, config)
    with staged(output) as folder:
        sizes = [_write(shard, change, folder, dtype) for shard in found]
        _copy(base, folder, config, dtype)
        if (base / INDEX).is_file():
            _index(found, folder, sum(sizes))
        (folder / CARD_FILE).write_text(_card(checkpoint, base_model), encoding="utf-8")
        checked: Mapping[str, Any] = {}
        if prompts:
            from adamergex.export.parity import compared

            checked = compared(checkpoint, base, folder, prompts)
    dtypes = {dtype or info.dtype for info in known.values()}
    return {
        "tensors": len(known), "changed": len(change), "dtypes": sorted(dtypes),
        "bytes": sum(sizes), "check": dict(checked),
    }  # fmt: skip


def _write(shard: Shard, change: Mapping[str, Change], folder: Path, dtype: Dtype | None) -> int:
    infos = {n: TensorInfo(x.shape, dtype or x.dtype) for n, x in shard.tensors.items()}
    with tensor_file(folder / shard.name, infos) as put:
        for name in infos:
            value = shard.read(name)
            put(name, change[name](wide(value, name)) if name in change else value)
    return sum(info.nbytes for info in infos.values())


def _copy(base: Path, folder: Path, config: Mapping[str, Any], dtype: Dtype | None) -> None:
    for path in sorted(base.iterdir()):
        if path.suffix in _COPIED and path.is_file() and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    own = {k: v for k, v in config.items() if k != "_name_or_path"}
    if dtype is not None:
        own.pop("torch_dtype", None)
        own["dtype"] = dtype
    write_json(folder / "config.json", own)


def _index(found: Sequence[Shard], folder: Path, size: int) -> None:
    weight_map = {name: shard.name for shard in found for name in sorted(shard.tensors)}
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=2)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _card(checkpoint: Checkpoint, base_model: str | None) -> str:
    named = base_fields(base_model).get("base_model_name_or_path")
    base = hub_base(named or checkpoint.config.base_model_name_or_path)
    relation = {"base_model": base, "base_model_relation": "finetune"} if base else {}
    front = {**relation, "library_name": "transformers", "tags": ["adamergex"]}
    weights = checkpoint.digests[checkpoint.weights.name]
    name = checkpoint.folder.resolve().name
    return f"""{front_matter(front)}
# {plain_text(base or "A base model")} with an adapter folded in

The adapter `{plain_text(name)}` (SHA-256 of its weights `{weights[:16]}`), folded into
the weights of its base model by adamergex {versions()["adamergex"]}. It loads as the base model
does, without PEFT.
"""
