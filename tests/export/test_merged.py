"""The adapter folded into the model, against PEFT's merge_and_unload; memory; what is refused."""

import json
import tracemalloc

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from adamergex import merge
from adamergex.checkpoint import open_checkpoint
from adamergex.cli import main
from adamergex.errors import AdamergexError, InputError
from adamergex.export import export_merged
from tests.support.folders import (
    edit_config,
    edit_tensors,
    snapshot,
    stored_tensors,
    write_adapter,
    write_prefix,
)
from tests.support.models import QUIET, gpt2, llama, logits, saved, t5

pytestmark = QUIET


def lora(**options):
    return peft.LoraConfig(r=3, lora_alpha=5, **options)


CAUSAL = {"task_type": "CAUSAL_LM"}
CASES = {
    "lora": (llama, lora(target_modules=["q_proj", "down_proj"], **CAUSAL)),
    "rslora, patterns": (
        llama,
        lora(
            target_modules=["q_proj", "v_proj"], use_rslora=True,
            rank_pattern={"v_proj": 5}, alpha_pattern={"q_proj": 7}, **CAUSAL,
        ),
    ),
    "output layer": (llama, lora(target_modules=["lm_head"], **CAUSAL)),
    "embeddings": (llama, lora(target_modules=["embed_tokens"], **CAUSAL)),
    "dora": (llama, lora(target_modules=["q_proj", "v_proj"], use_dora=True, **CAUSAL)),
    "(in, out)": (gpt2, lora(target_modules=["c_attn"], fan_in_fan_out=True, **CAUSAL)),
    "dora, (in, out)": (
        gpt2, lora(target_modules=["c_attn"], fan_in_fan_out=True, use_dora=True, **CAUSAL),
    ),
    "bias of B": (
        gpt2, lora(target_modules=["c_fc"], fan_in_fan_out=True, lora_bias=True, **CAUSAL),
    ),
    "trained biases": (
        gpt2, lora(target_modules=["c_fc"], fan_in_fan_out=True, bias="all", **CAUSAL),
    ),
    "saved whole": (llama, lora(target_modules=["q_proj"], modules_to_save=["lm_head"], **CAUSAL)),
    "ia3": (
        llama,
        peft.IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], **CAUSAL
        ),
    ),
    "ia3, (in, out), biases": (
        gpt2,
        peft.IA3Config(
            target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
            fan_in_fan_out=True, **CAUSAL,
        ),
    ),
    "encoder-decoder": (t5, lora(target_modules=["q", "wo"], task_type="SEQ_2_SEQ_LM")),
}  # fmt: skip


def written(make, folder, **options):
    """The base in files of a few KB each, with its tied weights once."""
    make().save_pretrained(folder, max_shard_size="8KB", **options)
    return folder


@pytest.mark.parametrize(("make", "config"), CASES.values(), ids=CASES)
def test_it_is_what_peft_merges(tmp_path, make, config):
    base = written(make, tmp_path / "base")
    adapter = saved(make, config, tmp_path / "adapter", 1, lambda n: "modules_to_save" in n)
    if config.to_dict().get("bias") == "all":
        tensors = stored_tensors(adapter, np.float32)
        edit_tensors(adapter, {n: x + 0.5 for n, x in tensors.items() if "lora_" not in n})
    facts = export_merged(open_checkpoint(adapter), base, tmp_path / "out")
    merged = peft.PeftModel.from_pretrained(make(), adapter).merge_and_unload()
    wanted, plain = merged.state_dict(), make().state_dict()
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    found = {name: x for file in files for name, x in load_file(file).items()}
    assert len(files) == len(list(base.glob("*.safetensors"))) > 1
    assert found.keys() <= wanted.keys()
    for name, x in found.items():
        torch.testing.assert_close(x, wanted[name], rtol=1e-5, atol=1e-5, msg=name)
    moved = [name for name, x in found.items() if not torch.equal(x, plain[name])]
    assert 0 < len(moved) <= facts["changed"]
    again = type(make()).from_pretrained(tmp_path / "out")
    assert again.state_dict().keys() == wanted.keys()
    if make is not t5:
        np.testing.assert_allclose(logits(again), logits(merged.eval()), atol=1e-4)
    assert "/" not in (tmp_path / "out" / "README.md").read_text().split("---")[1].replace(
        "tiny-random/model", ""
    )


def test_tensors_pass_one_by_one(tmp_path):
    """What is held does not grow with the model: of 40 tensors of 1 MiB never more than a few."""
    names = [f"model.layers.{i}.self_attn.q_proj" for i in range(40)]
    base, size = tmp_path / "base", 512
    base.mkdir()
    tensors = {f"{name}.weight": torch.zeros(size, size) for name in names}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    (base / "config.json").write_text("{}")
    factors = {
        f"base_model.model.{name}.lora_{part}.weight": np.ones(shape, np.float32)
        for name in names
        for part, shape in (("A", (1, size)), ("B", (size, 1)))
    }
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}
    checkpoint = open_checkpoint(write_adapter(tmp_path / "adapter", config, factors))
    tracemalloc.start()
    facts = export_merged(checkpoint, base, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts["bytes"] == 40 * 4 * size**2
    assert peak < 8 * 4 * size**2
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert bool((found[f"{names[7]}.weight"] == 2).all())


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_the_type_is_the_bases_or_the_one_asked_for(tmp_path, stored):
    base = written(lambda: llama().to(stored), tmp_path / "base")
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    checkpoint = open_checkpoint(adapter)
    export_merged(checkpoint, base, tmp_path / "own")
    export_merged(checkpoint, base, tmp_path / "asked", dtype="float16")
    for name, dtype in (("own", stored), ("asked", torch.float16)):
        files = (tmp_path / name).glob("*.safetensors")
        assert {x.dtype for file in files for x in load_file(file).values()} == {dtype}
        assert AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype="auto").dtype == dtype


def refused(tmp_path, adapter, base, match):
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=match):
        export_merged(open_checkpoint(adapter), base, tmp_path / "out")
    assert snapshot(tmp_path) == before


def test_what_finds_no_place_is_refused(tmp_path):
    base = written(llama, tmp_path / "base")
    adapter = saved(gpt2, CASES["(in, out)"][1], tmp_path / "adapter", 1)
    refused(tmp_path, adapter, base, "no such tensor in the base model")
    refused(tmp_path, write_prefix(tmp_path / "prefix"), base, "a prefix is no change of weights")


def test_a_base_of_another_shape_is_refused(tmp_path):
    base = written(llama, tmp_path / "base")
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    stored = stored_tensors(adapter, np.float32)
    name = next(name for name in stored if "lora_B" in name)
    edit_tensors(adapter, {name: stored[name][:-1]})
    refused(tmp_path, adapter, base, "as the base's")


def test_embeddings_that_the_output_layer_shares_are_left_alone(tmp_path):
    adapter = saved(gpt2, lora(target_modules=["wte"], **CAUSAL), tmp_path / "adapter", 1)
    refused(tmp_path, adapter, written(gpt2, tmp_path / "base"), "an output layer of its own")


@pytest.mark.parametrize(
    "index",
    ["[]", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../x"}}', "{", "[" * 999],
)
def test_an_index_that_is_none_or_leads_out_is_refused(tmp_path, index):
    base = written(llama, tmp_path / "base")
    (tmp_path / "x").write_text("")
    (base / "model.safetensors.index.json").write_text(index)
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    refused(tmp_path, adapter, base, "index")


def test_a_quantised_base_is_refused(tmp_path):
    base = written(llama, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq"}
    (base / "config.json").write_text(json.dumps(config))
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    refused(tmp_path, adapter, base, "quantization_config: found gptq")


def with_tokenizer(base):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[UNK]": 0} | {word: i for i, word in enumerate(["a", "b", "c", "d", "e", "f"], 1)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(base)
    return base


def exported(adapter, base, output, *more):
    call = ["export", adapter, "--to", "merged", "--model", base, "--output", output, *more]
    return main([str(x) for x in call])


def test_the_command_compares_with_peft(tmp_path, capsys):
    base = with_tokenizer(written(llama, tmp_path / "base"))
    adapter = saved(llama, CASES["dora"][1], tmp_path / "adapter", 1)
    call = (adapter, base, tmp_path / "out")
    assert exported(*call, "--prompt", "a b c", "--prompt", "d e") == 0
    said = capsys.readouterr().out
    assert "check on 2 prompts against PEFT: the same likeliest token at 5 of 5 places" in said
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert exported(*call) == 2
    assert exported(*call, "--overwrite", "--no-check", "--base-model", "org/other") == 0
    assert 'base_model: "org/other"' in (tmp_path / "out" / "README.md").read_text()
    assert "not compared with PEFT" in capsys.readouterr().out


def test_a_model_that_answers_otherwise_is_not_put_in_place(tmp_path, monkeypatch):
    base = with_tokenizer(written(llama, tmp_path / "base"))
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    for name, x in stored_tensors(adapter, np.float32).items():
        edit_tensors(adapter, {name: 5 * x})
    monkeypatch.setattr("adamergex.export.merged.changes", lambda *_: {})
    with pytest.raises(AdamergexError, match="nothing was written"):
        prompts = ["a b c d e f a b c d", "f e d c b a"]
        export_merged(open_checkpoint(adapter), base, tmp_path / "out", prompts=prompts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("to", "option"),
    [
        ("merged", ("--llama-cpp", "x")),
        ("gguf", ("--dtype", "float16")),
        ("gguf", ("--no-check",)),
        ("split", ("--prompt", "x")),
        ("split", ("--model", "x")),
    ],
)
def test_an_option_of_another_kind_of_export_is_refused(tmp_path, capsys, to, option):
    assert main(["export", "a", "--to", to, "--output", str(tmp_path / "out"), *option]) == 2
    assert f"{option[0]}: found --to {to}; needed --to " in capsys.readouterr().err


def test_an_adapter_of_the_built_in_model_finds_it(tmp_path, monkeypatch):
    """Its config has the name on the Hub, whose weights it was not trained on."""
    base = with_tokenizer(written(llama, tmp_path / "base"))
    monkeypatch.setattr("adamergex.models.prepared", lambda: base)
    inputs = {
        role: saved(llama, CASES["lora"][1], tmp_path / role, seed)
        for seed, role in enumerate(("task", "reference_target", "reference_source"))
    }
    for folder in inputs.values():
        edit_config(folder, base_model_name_or_path="/x/gemma-3-270m-0123456789abcdef")
    merge(**inputs).save(tmp_path / "adapter")
    call = ["export", str(tmp_path / "adapter"), "--to", "merged", "--output"]
    assert main([*call, str(tmp_path / "out"), "--prompt", "a b c"]) == 0
    assert 'base_model: "google/gemma-3-270m"' in (tmp_path / "out" / "README.md").read_text()


def test_without_a_base_it_is_asked_for(tmp_path, capsys):
    adapter = saved(llama, CASES["lora"][1], tmp_path / "adapter", 1)
    edit_config(adapter, base_model_name_or_path=None)
    call = ["export", str(adapter), "--to", "merged", "--output", str(tmp_path / "out")]
    assert main(call) == 2
    assert "needed --model NAME" in capsys.readouterr().err
