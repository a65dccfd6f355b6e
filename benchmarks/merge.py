"""Merging three LoRA adapters of a 7B Llama: the whole command beside its peers, in one run.

Peers: copying the three input files (the floor), and scripts with PEFT's add_weighted_adapter, on a
base that is never filled (its best case) and on one that is loaded. Before timing, the merged
adapters are compared on random vectors.

    python benchmarks/merge.py [--layers 32] [--runs 5] [--no-base]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy the type bfloat16
import numpy as np
import torch
from common import command, peak, python, table, timed
from safetensors.numpy import load_file
from safetensors.torch import save_file

import adamergex

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
WEIGHTS = "adapter_model.safetensors"

_LOAD = """
import sys, time, torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM
folder, layers, base = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if base == "meta":
    with torch.device("meta"):
        config = LlamaConfig(num_hidden_layers=layers, intermediate_size=11008, dtype="bfloat16")
        model = LlamaForCausalLM(config).bfloat16()
    model = model.to_empty(device="cpu")  # reserved, and never touched
else:
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
roles = ("task", "reference-target", "reference-source")
# Without the last option PEFT would compute and write float32, twice the bytes.
options = {"autocast_adapter_dtype": False}
model = PeftModel.from_pretrained(model, f"{folder}/{roles[0]}", roles[0], **options)
for role in roles[1:]:
    model.load_adapter(f"{folder}/{role}", role, **options)
start = time.perf_counter()
"""
PEFT = (
    _LOAD
    + """
model.add_weighted_adapter(list(roles), [1.0, 1.0, -1.0], "merged", combination_type="cat")
model.save_pretrained(f"{folder}/peft", selected_adapters=["merged"])
"""
)
PEFT_SVD = (
    _LOAD
    + """
model.add_weighted_adapter(
    list(roles), [1.0, 1.0, -1.0], "merged", combination_type="svd", svd_rank=16
)
took = time.perf_counter() - start
model.save_pretrained(f"{folder}/peft", selected_adapters=["merged"])
open(f"{folder}/seconds", "w").write(str(took))
"""
)


def make_adapters(folder: Path, rank: int, layers: int) -> Path:
    """The three adapters, of random numbers, in folders of their roles."""
    shutil.rmtree(folder, ignore_errors=True)
    for seed, role in enumerate(ROLES):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for layer in range(layers):
            for name, (out, inner) in SHAPES.items():
                stem = f"base_model.model.model.layers.{layer}.{name}"
                for part, shape in (("lora_A", (rank, inner)), ("lora_B", (out, rank))):
                    value = torch.randn(shape, generator=generator, dtype=torch.float32)
                    tensors[f"{stem}.{part}.weight"] = value.to(torch.bfloat16)
        (folder / role).mkdir(parents=True)
        save_file(tensors, folder / role / WEIGHTS, {"format": "pt"})
        modules = ", ".join(f'"{name.split(".")[-1]}"' for name in SHAPES)
        (folder / role / "adapter_config.json").write_text(
            f'{{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": {rank}, '
            f'"lora_alpha": {2 * rank}, "target_modules": [{modules}]}}'
        )
    return folder


def make_base(folder: Path, layers: int) -> Path:
    """A whole Llama of random numbers on disk; every layer holds the same ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(num_hidden_layers=layers, intermediate_size=INNER, dtype="bfloat16")
    with torch.device("meta"):
        model = LlamaForCausalLM(config).bfloat16()
    model = model.to_empty(device="cpu")
    drawn = torch.randn(WIDTH * 32000, dtype=torch.float32).mul(0.02).bfloat16()
    for parameter in model.parameters():
        parameter.data = drawn[: parameter.numel()].view(parameter.shape)
    model.generation_config = None
    config.save_pretrained(folder)
    tensors = {name: x.clone() for name, x in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def arguments(folder: Path, *options: str) -> list[object]:
    inputs = [text for role in ROLES for text in (f"--{role}", folder / role)]
    return ["merge", *inputs, "--output", folder / "ours", "--overwrite", *options]


def ours(folder: Path) -> None:
    command(sys.executable, "-m", "adamergex", *arguments(folder))


def copied(folder: Path) -> None:
    for role in ROLES:
        (folder / "copy" / role).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / role / WEIGHTS, folder / "copy" / role / WEIGHTS)


def synced(paths: list[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def forgotten(paths: list[Path]) -> None:
    """Drops the files from the page cache: the next to read them reads the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def products(folder: Path, name: str, layer: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """B and A of one module, with the scaling in B where the config has one."""
    tensors = load_file(folder / WEIGHTS)
    a, b = (f"base_model.model.model.layers.{layer}.{name}.lora_{x}.weight" for x in "AB")
    return tensors[b].astype(np.float64), tensors[a].astype(np.float64)


def exact(folder: Path, name: str) -> np.ndarray:
    """The true sum, dense: every adapter's scaling is alpha / r = 2."""
    terms = zip((1, 1, -1), (products(folder / role, name) for role in ROLES), strict=True)
    return sum(2 * sign * (b @ a) for sign, (b, a) in terms)


def check_same(folder: Path) -> float:
    """The largest difference of ours and PEFT's product, relative, on random vectors."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for name in SHAPES:
        (b, a), (d, c) = (products(folder / x, name) for x in ("ours", "peft/merged"))
        x = rng.standard_normal(a.shape[1])
        y, z = b @ (a @ x), d @ (c @ x)
        worst = max(worst, float(np.linalg.norm(y - z) / np.linalg.norm(y)))
    assert worst < 1e-5, worst
    return worst


def whole_command(scratch: Path, layers: int, runs: int, with_base: bool) -> None:
    folder = make_adapters(scratch / "r16", 16, layers)
    ours(folder)
    python(PEFT, folder, layers, "meta")
    difference = check_same(folder)
    copies = [folder / "copy" / role / WEIGHTS for role in ROLES]
    found = timed(
        {
            "copying the three files": lambda: copied(folder),
            "the same, on disk (fsync)": lambda: (copied(folder), synced(copies)),
            "`adamergex merge`": lambda: ours(folder),
            "the same, on disk (fsync)¹": lambda: (
                ours(folder),
                synced([folder / "ours" / WEIGHTS]),
            ),
            "PEFT, `cat`, base never filled": lambda: python(PEFT, folder, layers, "meta"),
        },
        runs,
    )
    if with_base:
        loaded_base(folder, make_base(scratch / "base", layers), layers, min(runs, 3))
    mine = found["`adamergex merge`"]
    print("### Three adapters, r = 16, exact\n")
    print(f"Whole commands. Ours and PEFT's products differ by {difference:.1e} at most.\n")
    rows = [(name, took, f"{took / mine:.2g}") for name, took in found.items()]
    table(("", "seconds", "ours = 1"), rows)
    floor = found["the same, on disk (fsync)"]
    print(
        f"¹ {found['the same, on disk (fsync)¹'] / floor:.1f} times the copy that is on disk,",
        end=" ",
    )
    print(f"{mine / found['copying the three files']:.1f} times the copy in the page cache.\n")


def loaded_base(folder: Path, base: Path, layers: int, runs: int) -> None:
    """What both need is in memory already, or must be read from the disk."""
    read = [*(folder / role / WEIGHTS for role in ROLES), base / "model.safetensors"]
    synced(read)  # what is not on the disk yet cannot be forgotten
    found = timed(
        {
            "`adamergex merge`": lambda: ours(folder),
            "PEFT, `cat`, base loaded": lambda: python(PEFT, folder, layers, base),
            "`adamergex merge`, from disk": lambda: (forgotten(read), ours(folder)),
            "PEFT, from disk": lambda: (
                forgotten(read),
                python(PEFT, folder, layers, base),
            ),
        },
        runs,
    )
    shutil.rmtree(base)
    print(f"### The same beside a loaded base of {layers} layers\n")
    table(("", "seconds"), list(found.items()))
    mine, peft, mine_cold, peft_cold = found.values()
    print(f"{peft / mine:.1f} and, from disk, {peft_cold / mine_cold:.1f} times as fast.\n")


def cut_to_rank(scratch: Path) -> None:
    folder = make_adapters(scratch / "one", 16, 1)
    names = dict(zip(("task", "reference_target", "reference_source"), ROLES, strict=True))
    roles = {name: folder / role for name, role in names.items()}

    def mine() -> None:
        adamergex.merge(**roles, rank=16).save(folder / "ours", overwrite=True)

    def peft() -> float:
        python(PEFT_SVD, folder, 1, "meta")
        return float((folder / "seconds").read_text())

    found = timed({"ours": mine}, 5) | timed({"peft": peft}, 1)
    errors = {}
    for maker, place in (("ours", folder / "ours"), ("peft", folder / "peft" / "merged")):
        lost = whole = 0.0
        for name in SHAPES:
            wanted = exact(folder, name)
            b, a = products(place, name)
            lost += float(np.sum((wanted - b @ a) ** 2))
            whole += float(np.sum(wanted**2))
        errors[maker] = (lost / whole) ** 0.5
    assert errors["ours"] <= errors["peft"] * 1.0001, errors
    print("### Rank 16, one layer's seven modules\n")
    rows = [
        ("`adamergex.merge(rank=16)`, saved", found["ours"], f"{errors['ours']:.5f}"),
        ("PEFT, `svd`, the step alone", found["peft"], f"{errors['peft']:.5f}"),
    ]
    table(("", "seconds", "relative error"), rows)
    print(f"{found['peft'] / found['ours']:.0f} times as fast.\n")


def memory(scratch: Path, layers: int) -> None:
    print("### Peak memory of the command\n")
    rows = []
    for rank in (16, 128):
        folder = make_adapters(scratch / f"r{rank}", rank, layers)
        size = (folder / "task" / WEIGHTS).stat().st_size
        for options in ((), ("--rank", "16")):
            mib = [x / 2**20 for x in (size, peak(*arguments(folder, *options)))]
            allowed = mib[0] + 150
            assert mib[1] < allowed, (rank, options, mib)
            what = " ".join(options) or "exact"
            rows.append((rank, what, *(f"{x:.0f}" for x in (*mib, allowed))))
        shutil.rmtree(folder)
    table(("r", "", "one input, MiB", "peak, MiB", "allowed, MiB"), rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-base", action="store_true", help="leave out the base that is loaded")
    options = parser.parse_args()
    print("## Merging adapters of a 7B Llama\n")
    with tempfile.TemporaryDirectory() as scratch:
        cut_to_rank(Path(scratch))
        memory(Path(scratch), options.layers)
        whole_command(Path(scratch), options.layers, options.runs, not options.no_base)


if __name__ == "__main__":
    main()
