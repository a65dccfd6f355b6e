"""`adamergex merge`: what it prints, what it writes, and what it leaves alone."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from adamergex import __version__
from adamergex.cli import main
from tests.support.folders import (
    LORA,
    dense_updates,
    edit_config,
    edit_tensors,
    snapshot,
    stored_tensors,
    three,
    write_ia3,
    write_lora,
    write_prefix,
)


def arguments(inputs, output, *more):
    named = [x for role, folder in inputs.items() for x in (f"--{role.replace('_', '-')}", folder)]
    return [str(x) for x in ("merge", *named, "--output", output, *more)]


def succeeded(capsys, call):
    """Standard output of a command that must not complain."""
    code = main(call)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_a_merge_is_written_and_described(tmp_path, capsys):
    out = succeeded(capsys, arguments(three(tmp_path), tmp_path / "out", "--scale", "0.5"))
    lines = out.splitlines()
    assert lines[0].startswith(
        "merged 4 modules of LORA at scale 0.5: weight space, rank 6, float32"
    )
    assert any(line.startswith("exact") for line in lines)
    assert "a server must allow rank 6 (vLLM: --max-lora-rank 8)" in lines
    assert lines[-1] == str(tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_the_order_of_the_roles_is_by_name(tmp_path, capsys):
    inputs = three(tmp_path)
    succeeded(capsys, arguments(inputs, tmp_path / "one"))
    succeeded(capsys, arguments(dict(reversed(inputs.items())), tmp_path / "two"))
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_the_default_scale_is_one(tmp_path, capsys):
    inputs = three(tmp_path)
    succeeded(capsys, arguments(inputs, tmp_path / "out"))
    t, rt, rs = (dense_updates(folder) for folder in inputs.values())
    for module, found in dense_updates(tmp_path / "out").items():
        assert abs(found - (t[module] + rt[module] - rs[module])).max() < 1e-5


def test_a_smaller_rank_says_what_it_cost(tmp_path, capsys):
    out = succeeded(capsys, arguments(three(tmp_path), tmp_path / "out", "--rank", "3"))
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert f"relative error of the approximation {manifest['relative_error']:.4f}" in out
    assert manifest["worst_module"] in out
    assert "storing in float32 comes on top" in out


def test_factor_space_says_what_it_is_not(tmp_path, capsys):
    out = succeeded(capsys, arguments(three(tmp_path), tmp_path / "out", "--space", "factor"))
    assert "factor space, rank 2" in out
    assert "not the sum of the weight updates" in out


@pytest.mark.parametrize(
    ("write", "more"),
    [(write_ia3, ()), (write_ia3, ("--ia3", "geometric")), (write_prefix, ())],
    ids=["ia3", "ia3 geometric", "prefix"],
)
def test_other_structures(tmp_path, capsys, write, more):
    out = succeeded(capsys, arguments(three(tmp_path, write), tmp_path / "out", *more))
    assert out.startswith("merged ")
    assert "rank" not in out


NOT_SERVED = "more than plain LoRA: servers that load only that cannot serve it as an adapter"


def test_what_servers_of_plain_lora_cannot_serve_is_said(tmp_path, capsys):
    """By the tensors: PEFT saves embeddings that were resized without a word in the config."""
    inputs = three(tmp_path)
    name = "base_model.model.model.embed_tokens.weight"
    for folder in inputs.values():
        edit_tensors(folder, {name: np.ones((9, 8), np.float32)})
    out = succeeded(capsys, arguments(inputs, tmp_path / "out"))
    why = f"(vLLM: it refuses {name}; llama.cpp: it refuses {name})"
    assert f"{NOT_SERVED} {why}" in out.splitlines()
    assert "--max-lora-rank" not in out
    facts = json.loads(succeeded(capsys, arguments(inputs, tmp_path / "x", "--json", "--dry-run")))
    assert facts["servable"] is False
    assert set(facts["obstacles"]) == {"vLLM", "llama.cpp"}
    assert NOT_SERVED not in succeeded(capsys, arguments(three(tmp_path / "plain"), tmp_path / "b"))


def test_a_head_is_for_vllm_and_not_for_llama_cpp(tmp_path, capsys):
    inputs = three(tmp_path, write_lora, modules_to_save=["score"])
    head = {"base_model.model.score.weight": np.ones((3, 8), np.float32)}
    for folder in inputs.values():
        edit_tensors(folder, head)
    out = succeeded(capsys, arguments(inputs, tmp_path / "out"))
    assert "a server must allow rank 6 (vLLM: --max-lora-rank 8); llama.cpp: it refuses" in out


@pytest.mark.parametrize(
    ("wrapped", "how"),
    [
        (lambda name: f"_orig_mod.{name}", "without _orig_mod"),
        (lambda name: name.removeprefix("base_model.model."), "with base_model.model. before them"),
        (lambda name: name.replace(".weight", ".mine.weight"), "without the adapter's name, mine"),
    ],
    ids=["compiled", "bare", "adapter's name"],
)
def test_names_that_are_not_pefts_are_said_and_recorded(tmp_path, capsys, wrapped, how):
    inputs = three(tmp_path)
    plain = succeeded(capsys, arguments(inputs, tmp_path / "plain"))
    assert "tensor names" not in plain
    for folder in inputs.values():
        stored = stored_tensors(folder, np.float32)
        edit_tensors(
            folder, {**dict.fromkeys(stored), **{wrapped(k): x for k, x in stored.items()}}
        )
    out = succeeded(capsys, arguments(inputs, tmp_path / "out"))
    roles = "task, reference target, reference source"
    assert f"tensor names read as PEFT writes them: {roles} {how}" in out.splitlines()
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert manifest["renamed"] == {role: [how] for role in inputs}
    found, wanted = (stored_tensors(tmp_path / x) for x in ("out", "plain"))
    assert found.keys() == wanted.keys()
    assert all((found[name] == x).all() for name, x in wanted.items())


def test_json_is_one_object_and_nothing_else(tmp_path, capsys):
    out = succeeded(capsys, arguments(three(tmp_path), tmp_path / "out", "--json", "--rank", "3"))
    facts = json.loads(out)
    assert out.count("\n") == 1
    assert facts["written"] is True
    assert facts["output"] == str(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    for key in ("structure", "space", "scale", "rank", "dtype", "relative_error", "worst_module"):
        assert facts[key] == manifest[key]


@pytest.mark.parametrize("more", [(), ("--json",), ("--rank", "2")], ids=str)
def test_a_dry_run_writes_nothing(tmp_path, capsys, more):
    inputs = three(tmp_path)
    before = snapshot(tmp_path)
    out = succeeded(capsys, arguments(inputs, tmp_path / "a" / "out", "--dry-run", *more))
    assert snapshot(tmp_path) == before
    if more == ("--json",):
        assert json.loads(out)["written"] is False
    else:
        assert out.startswith("would merge 4 modules")
        assert out.endswith("not written (--dry-run)\n")


def test_a_dry_run_says_the_size_that_is_written(tmp_path, capsys):
    call = arguments(three(tmp_path), tmp_path / "out", "--json")
    promised = json.loads(succeeded(capsys, [*call, "--dry-run"]))["bytes"]
    succeeded(capsys, call)
    content = (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
    assert len(content) - 8 - int.from_bytes(content[:8], "little") == promised


def test_a_dry_run_refuses_what_the_real_one_would(tmp_path, capsys):
    write_lora(tmp_path / "out")
    assert main(arguments(three(tmp_path), tmp_path / "out", "--dry-run")) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_overwrite(tmp_path, capsys):
    inputs = three(tmp_path / "in")
    succeeded(capsys, arguments(inputs, tmp_path / "out", "--scale", "0.5"))
    succeeded(capsys, arguments(inputs, tmp_path / "out", "--overwrite"))
    succeeded(capsys, arguments(inputs, tmp_path / "new"))
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "new")


def test_different_base_models_on_request(tmp_path, capsys):
    inputs = three(tmp_path)
    edit_config(inputs["reference_source"], base_model_name_or_path="other/model")
    succeeded(capsys, arguments(inputs, tmp_path / "out", "--allow-different-base"))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == LORA["base_model_name_or_path"]


def test_a_base_model_by_name(tmp_path, capsys):
    """A place on this machine is warned about; a name on the Hub takes its place."""
    inputs = three(tmp_path, write_lora, base_model_name_or_path=str(tmp_path / "gemma"))
    assert main(arguments(inputs, tmp_path / "out")) == 0
    assert f"warning: base model {tmp_path / 'gemma'} is a place" in capsys.readouterr().err
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()
    named = arguments(inputs, tmp_path / "named", "--base-model", "org/gemma@v1")
    succeeded(capsys, named)
    config = json.loads((tmp_path / "named" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/gemma", "v1")
    assert not any(str(tmp_path).encode() in x for x in snapshot(tmp_path / "named").values())
    assert main(arguments(inputs, tmp_path / "bad", "--base-model", " ")) == 2


def test_adapters_of_the_built_in_model_bear_its_name(tmp_path, capsys):
    """Whichever machine's cache they were trained in."""
    inputs = three(tmp_path)
    for i, folder in enumerate(inputs.values()):
        edit_config(folder, base_model_name_or_path=f"/home/{i}/gemma-3-270m-0123456789abcdef")
    succeeded(capsys, arguments(inputs, tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "google/gemma-3-270m"
    assert "Q4_K_M" in (tmp_path / "out" / "README.md").read_text()


def test_a_stored_type_that_rounds_is_not_called_exact(tmp_path, capsys):
    inputs = three(tmp_path)
    out = succeeded(capsys, arguments(inputs, tmp_path / "out", "--dtype", "bfloat16"))
    assert not any(line.startswith("exact") for line in out.splitlines())
    t, rt, rs = (dense_updates(folder) for folder in inputs.values())
    found = dense_updates(tmp_path / "out")
    wanted = {name: t[name] + rt[name] - rs[name] for name in t}
    lost, whole = (
        sum((x**2).sum() for x in xs)
        for xs in ((found[n] - wanted[n] for n in wanted), wanted.values())
    )
    error = (lost / whole) ** 0.5
    assert 1e-4 < error < 1e-2
    assert f"nothing cut off, rounded to bfloat16: relative error {error:.4f}" in out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_stored_type(tmp_path, capsys, dtype):
    call = arguments(three(tmp_path), tmp_path / "out", "--dtype", dtype, "--json")
    facts = json.loads(succeeded(capsys, call))
    assert facts["dtype"] == dtype
    assert facts["bytes"] == 4 * 2 * 6 * 8 * (4 if dtype == "float32" else 2)


@pytest.mark.parametrize("call", [["--help"], ["-h"], ["merge", "--help"], ["inspect", "-h"]])
def test_help(capsys, call):
    assert "Usage: adamergex" in succeeded(capsys, call)


def test_the_version(capsys):
    assert __version__ in succeeded(capsys, ["--version"])


def test_as_a_module(tmp_path):
    call = [sys.executable, "-m", "adamergex", *arguments(three(tmp_path), tmp_path / "out")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("merged 4 modules")


def test_a_merge_inside_a_program_leaves_its_environment_alone(tmp_path, capsys, monkeypatch):
    """NumPy has its BLAS threads by then; what is said of them would hold for its children only."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    importlib.import_module("threadpoolctl")  # whose import sets a variable of its own
    before = dict(os.environ)
    succeeded(capsys, arguments(three(tmp_path), tmp_path / "out"))
    assert dict(os.environ) == before
