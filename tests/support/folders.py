"""Adapter folders written by hand (no torch), and read back by safetensors alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

ROLES = ("task", "reference-target", "reference-source")
BASE = "tiny-random/llama"
PREFIX = "base_model.model.model.layers"

LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": BASE,
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "v_proj"],
}
IA3: dict[str, Any] = {
    "peft_type": "IA3",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": BASE,
    "target_modules": ["k_proj"],
    "feedforward_modules": [],
}
PREFIX_TUNING: dict[str, Any] = {
    "peft_type": "PREFIX_TUNING",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": BASE,
    "num_virtual_tokens": 3,
    "num_layers": 2,
    "token_dim": 8,
    "num_attention_heads": 2,
    "num_transformer_submodules": 1,
}


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Path:
    """A PEFT folder with exactly this config and these tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    contiguous = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def lora_tensors(
    seed: int, *, r: int = 2, size: int = 8, modules: Any = ("q_proj", "v_proj")
) -> Any:
    """Random A and B of two layers."""
    rng = np.random.default_rng(seed)
    return {
        f"{PREFIX}.{layer}.self_attn.{module}.lora_{part}.weight": rng.normal(size=shape).astype(
            np.float32
        )
        for layer in range(2)
        for module in modules
        for part, shape in (("A", (r, size)), ("B", (size, r)))
    }


def write_lora(
    folder: Path, seed: int = 0, *, r: int = 2, size: int = 8, dtype: Any = "float32", **config: Any
) -> Path:
    """A LoRA adapter with random weights."""
    tensors = {k: x.astype(dtype) for k, x in lora_tensors(seed, r=r, size=size).items()}
    return write_adapter(folder, {**LORA, "r": r, **config}, tensors)


def write_ia3(folder: Path, seed: int = 0, **config: Any) -> Path:
    """An (IA)3 adapter with random vectors near 1."""
    rng = np.random.default_rng(seed)
    names = [f"{PREFIX}.{layer}.self_attn.k_proj.ia3_l" for layer in range(2)]
    tensors = {name: rng.uniform(0.5, 1.5, size=(8, 1)).astype(np.float32) for name in names}
    return write_adapter(folder, {**IA3, **config}, tensors)


def write_prefix(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A random prefix of 3 virtual tokens for 2 layers of 8 dimensions."""
    values = np.random.default_rng(seed).normal(size=(3, 32)).astype(np.float32)
    return write_adapter(folder, {**PREFIX_TUNING, **config}, {"prompt_embeddings": values})


def three(folder: Path, write: Any = write_lora, **options: Any) -> dict[str, Path]:
    """T, Rt and Rs under `folder`, as arguments of `merge`."""
    return {
        role.replace("-", "_"): write(folder / role, seed, **options)
        for seed, role in enumerate(ROLES)
    }


def config_of(folder: Path) -> dict[str, Any]:
    """adapter_config.json, as it stands."""
    return json.loads((folder / "adapter_config.json").read_text())


def edit_config(folder: Path, **changes: Any) -> Path:
    """Changes fields of an adapter's config in place."""
    (folder / "adapter_config.json").write_text(json.dumps({**config_of(folder), **changes}))
    return folder


def edit_tensors(folder: Path, changed: Mapping[str, Any]) -> Path:
    """Replaces or adds tensors; a value of None removes one."""
    tensors = {**stored_tensors(folder, np.float32), **changed}
    kept = {name: x for name, x in tensors.items() if x is not None}
    return write_adapter(folder, config_of(folder), kept)


def stored_tensors(folder: Path, dtype: Any = np.float64) -> dict[str, np.ndarray]:
    """Every tensor of an adapter folder, read by safetensors or torch and not by adamergex."""
    from safetensors.torch import load_file

    weights = folder / "adapter_model.safetensors"
    if weights.exists():
        tensors = load_file(weights)
    else:
        tensors = torch.load(folder / "adapter_model.bin", weights_only=True)
    return {name: x.double().numpy().astype(dtype) for name, x in tensors.items()}


def dense_updates(folder: Path) -> dict[str, np.ndarray]:
    """Module -> alpha/r B A in float64, for an adapter without patterns."""
    config, tensors = config_of(folder), stored_tensors(folder)
    r = config["r"]
    scaling = config["lora_alpha"] / (math.sqrt(r) if config.get("use_rslora") else r)
    return {
        name.removesuffix(".lora_A.weight").removeprefix("base_model.model."): scaling
        * (tensors[name.replace("lora_A", "lora_B")] @ tensors[name])
        for name in tensors
        if name.endswith(".lora_A.weight")
    }


def snapshot(folder: Path) -> dict[str, bytes]:
    """Path -> content of everything under `folder`: to see that nothing was written."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
