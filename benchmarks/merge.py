"""Merging three LoRA adapters of a 7B Llama: the whole command beside its peers, in one run.

Peers: copying the three input files (the floor), and PEFT's add_weighted_adapter("cat") on a base
whose memory is reserved and never touched: its best case, with no weights to load. Each runs in a
process of its own. Before timing, both merged adapters are compared, one module of each kind.

    python benchmarks/merge.py [--rank 16] [--layers 32] [--runs 5]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy the type bfloat16
import numpy as np
from safetensors.numpy import load_file

WIDTH, INNER = 4096, 11008
SHAPES = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH, WIDTH),
    "self_attn.v_proj": (WIDTH, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}
ROLES = ("task", "reference-target", "reference-source")

PEER = """
import sys, torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM
folder, layers = sys.argv[1], int(sys.argv[2])
with torch.device("meta"):
    config = LlamaConfig(num_hidden_layers=layers, intermediate_size=11008, dtype="bfloat16")
    base = LlamaForCausalLM(config).bfloat16()
base = base.to_empty(device="cpu")
roles = ("task", "reference-target", "reference-source")
model = PeftModel.from_pretrained(base, f"{folder}/{roles[0]}", adapter_name=roles[0])
for role in roles[1:]:
    model.load_adapter(f"{folder}/{role}", adapter_name=role)
model.add_weighted_adapter(list(roles), [1.0, 1.0, -1.0], "merged", combination_type="cat")
model.save_pretrained(f"{folder}/peer", selected_adapters=["merged"])
"""


def make_adapters(folder: Path, rank: int, layers: int) -> None:
    import torch
    from safetensors.torch import save_file

    for seed, role in enumerate(ROLES):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for layer in range(layers):
            for name, (out, inner) in SHAPES.items():
                stem = f"base_model.model.model.layers.{layer}.{name}"
                for part, shape in (("lora_A", (rank, inner)), ("lora_B", (out, rank))):
                    value = torch.randn(shape, generator=generator, dtype=torch.float32)
                    tensors[f"{stem}.{part}.weight"] = value.to(torch.bfloat16)
        (folder / role).mkdir()
        save_file(tensors, folder / role / "adapter_model.safetensors", {"format": "pt"})
        modules = ", ".join(f'"{name.split(".")[-1]}"' for name in SHAPES)
        (folder / role / "adapter_config.json").write_text(
            f'{{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": {rank}, '
            f'"lora_alpha": {2 * rank}, "target_modules": [{modules}]}}'
        )


def ours(folder: Path) -> list[str]:
    inputs = [text for role in ROLES for text in (f"--{role}", str(folder / role))]
    output = ["--output", str(folder / "ours"), "--overwrite"]
    return [sys.executable, "-m", "adamergex", "merge", *inputs, *output]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def copy_seconds(folder: Path) -> float:
    start = time.perf_counter()
    for role in ROLES:
        shutil.copytree(folder / role, folder / "copy" / role)
    took = time.perf_counter() - start
    shutil.rmtree(folder / "copy")
    return took


def check_same(folder: Path) -> None:
    """The two products, one module of each kind, on random vectors: W x must agree."""
    mine = load_file(folder / "ours" / "adapter_model.safetensors")
    theirs = load_file(folder / "peer" / "merged" / "adapter_model.safetensors")
    rng = np.random.default_rng(0)
    for name in SHAPES:
        a, b = (f"base_model.model.model.layers.0.{name}.lora_{x}.weight" for x in "AB")
        x = rng.standard_normal(mine[a].shape[1])
        y, z = (t[b].astype(float) @ (t[a].astype(float) @ x) for t in (mine, theirs))
        error = np.linalg.norm(y - z) / np.linalg.norm(y)
        assert error < 1e-5, f"{name}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag, default in (("--rank", 16), ("--layers", 32), ("--runs", 5)):
        parser.add_argument(flag, type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_adapters(folder, options.rank, options.layers)
        peer = [sys.executable, "-W", "ignore", "-c", PEER, str(folder), str(options.layers)]
        seconds(ours(folder))
        seconds(peer)
        check_same(folder)
        rows = [
            (copy_seconds(folder), seconds(ours(folder)), seconds(peer))
            for _ in range(options.runs)
        ]
    floor, mine, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"copying the inputs {floor:.2f} s, adamergex merge {mine:.2f} s, PEFT {theirs:.2f} s")
    print(f"{mine / floor:.1f} times the copy; {theirs / mine:.1f} times as fast as PEFT")


if __name__ == "__main__":
    main()
