"""The real model, Gemma-3-270M: merged adapters in it, PEFT's own merge, training and scoring.

The merged weights are computed in float64 from the stored tensors and put into a copy of the model.

Tolerance: both sides run in float32, one with W x + B (A x), the other with (W + B A) x. Roundings
of 6e-8 grow through 18 layers to 4e-5 in logits of size 10 to 30, as measured; TOLERANCE leaves a
factor of ten, and every merge must move the logits by CHANGED, a thousand times as much.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from adamergex import merge
from adamergex.cli import main
from adamergex.models import BUILTIN, backbone
from adamergex.score import measured
from adamergex.tasks import Questions, emoji, find_task
from adamergex.train import train_adapter, vocabulary_of
from tests.support.backbones import QUIET_TRAINING, assert_untouched, state
from tests.support.folders import ROLES, config_of, stored_tensors

pytestmark = [pytest.mark.slow, QUIET_TRAINING]

SCALE = 0.7
TOLERANCE = 4e-4
CHANGED = 0.5
TEXTS = ("The chequered flag waves over the finish line", "سیب قرمز in English: red apple")
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base():
    return backbone(BUILTIN)


@pytest.fixture(autouse=True)
def memory():
    """Copies of a 270M model in float32 take a gigabyte each: no two may outlive their test."""
    yield
    gc.collect()


def copy_of(base):
    """The same weights in another model."""
    config = base.model.config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(base.model.state_dict())
    model.name_or_path = base.model.name_or_path
    return model


@torch.no_grad()
def logits(base, model):
    """At the last five positions of each text."""
    found = []
    for text in TEXTS:
        ids = torch.tensor([base.tokenizer.encode(text)])
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=5)
        found.append(output.logits[0].double().numpy())
    return np.concatenate(found)


def check(base, found, expected, task):
    """`found` is as expected, and the merge is no mere copy of the base or of T."""
    plain = logits(base, base.model)
    assert 5 < np.abs(plain).max() < 100
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert np.abs(found - plain).max() > CHANGED
    assert np.abs(found - task).max() > CHANGED


def three(base, config, values, folder):
    """T, Rt and Rs as PEFT saves them, each with values of its own."""
    folders = {}
    for seed, role in enumerate(ROLES):
        wrapped = peft.get_peft_model(base.model, config())
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                parameter.data = values(name, torch.randn(parameter.shape, generator=generator))
        wrapped.save_pretrained(folder / role, save_embedding_layers=False)
        if not config().is_prompt_learning:
            wrapped.unload()
        folders[role.replace("-", "_")] = folder / role
    base.model.requires_grad_(False)
    return folders


def in_peft(base, folder):
    """Logits of the real model with an adapter folder, loaded by PEFT and taken off again."""
    wrapped = peft.PeftModel.from_pretrained(base.model, folder).eval()
    try:
        return logits(base, wrapped)
    finally:
        if not wrapped.active_peft_config.is_prompt_learning:
            wrapped.unload()


def with_weights(base, change):
    """Logits of a copy of the model, each weight replaced by what `change` makes for its module."""
    model = copy_of(base)
    for name, module in model.named_modules():
        new = change(name, module)
        if new is not None:
            module.weight.data = torch.from_numpy(new).float()
    return logits(base, model)


def lora(rank, alpha):
    return peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, target_modules=LINEAR)


def small_lora(name, values):
    """Updates of a few per cent of the weights."""
    return values * (0.02 if "lora_A" in name else 0.04)


def factors(folder):
    """Module -> (scaled B, A) in float64."""
    tensors, config = stored_tensors(folder), config_of(folder)
    scaling = config["lora_alpha"] / config["r"]
    prefix, suffix = "base_model.model.", ".lora_A.weight"
    return {
        name.removeprefix(prefix).removesuffix(suffix): (
            scaling * tensors[name.replace("lora_A", "lora_B")],
            a,
        )
        for name, a in tensors.items()
        if name.endswith(suffix)
    }


def dense_sum(t, rt, rs):
    return t[0] @ t[1] + SCALE * (rt[0] @ rt[1] - rs[0] @ rs[1])


def dense_factor(t, rt, rs):
    """The scaling stands in B: the three have one."""
    return (t[0] + SCALE * (rt[0] - rs[0])) @ (t[1] + SCALE * (rt[1] - rs[1]))


def cut(matrix, rank):
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


@pytest.fixture(scope="module")
def loras(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    return three(base, lambda: lora(4, 8), small_lora, folder)


LORA = {
    "factor": ({"space": "factor"}, dense_factor),
    "weight, exact": ({"space": "weight"}, dense_sum),
    "weight, rank 8": ({"space": "weight", "rank": 8}, lambda *x: cut(dense_sum(*x), 8)),
}


@pytest.mark.parametrize(("options", "formula"), LORA.values(), ids=LORA)
def test_merged_lora(base, loras, tmp_path, options, formula):
    merge(**loras, scale=SCALE, **options).save(tmp_path / "out")
    three_factors = [factors(folder) for folder in loras.values()]

    def change(name, module):
        if name not in three_factors[0]:
            return None
        return module.weight.detach().double().numpy() + formula(*(f[name] for f in three_factors))

    assert len(three_factors[0]) == 18 * len(LINEAR)
    expected = with_weights(base, change)
    check(base, in_peft(base, tmp_path / "out"), expected, in_peft(base, loras["task"]))


def test_merged_ia3(base, tmp_path):
    def config():
        return peft.IA3Config(
            task_type="CAUSAL_LM",
            target_modules=["k_proj", "v_proj", "down_proj"],
            feedforward_modules=["down_proj"],
        )

    inputs = three(base, config, lambda _, values: 1 + 0.1 * values, tmp_path)
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    stored = [stored_tensors(folder) for folder in inputs.values()]

    def change(name, module):
        key = f"base_model.model.{name}.ia3_l"
        if key not in stored[0]:
            return None
        t, rt, rs = (tensors[key] for tensors in stored)
        # (out, 1) for what a module gives, (1, in) for what it takes: both broadcast.
        return module.weight.detach().double().numpy() * (t * (SCALE * (rt / rs - 1) + 1))

    assert len(stored[0]) == 18 * 3
    expected = with_weights(base, change)
    check(base, in_peft(base, tmp_path / "out"), expected, in_peft(base, inputs["task"]))


def test_merged_prefix(base, tmp_path):
    """The formula applied to each layer's keys and values, run by transformers without PEFT."""
    from transformers import DynamicCache

    tokens = 4
    inputs = three(
        base,
        lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens),
        lambda _, values: values,
        tmp_path,
    )
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    config = base.model.config
    width = config.num_key_value_heads * config.head_dim
    stored = [stored_tensors(folder)["prompt_embeddings"] for folder in inputs.values()]
    assert stored[0].shape == (tokens, 2 * config.num_hidden_layers * width)
    eye = np.eye(tokens)

    def merged(block):
        t, rt, rs = (x[:, block * width : (block + 1) * width] for x in stored)
        value = (SCALE * (rt @ np.linalg.pinv(rs) - eye) + eye) @ t
        heads = value.reshape(tokens, config.num_key_value_heads, config.head_dim)
        return torch.from_numpy(heads).float().transpose(0, 1)[None]

    expected = []
    for text in TEXTS:
        cache = DynamicCache(config=config)
        for layer in range(config.num_hidden_layers):
            cache.update(merged(2 * layer), merged(2 * layer + 1), layer)
        ids = torch.tensor([base.tokenizer.encode(text)])
        with torch.no_grad():
            output = base.model(
                input_ids=ids,
                attention_mask=torch.ones(1, tokens + ids.shape[1], dtype=torch.long),
                past_key_values=cache,
                logits_to_keep=5,
            )
        expected.append(output.logits[0].double().numpy())
    found, task = (in_peft(base, folder) for folder in (tmp_path / "out", inputs["task"]))
    check(base, found, np.concatenate(expected), task)


def test_peft_itself_makes_the_same_merge(base, tmp_path):
    """add_weighted_adapter with "cat" is exact: adapters of three ranks and three scalings."""
    inputs = {}
    for seed, (role, rank, alpha) in enumerate(zip(ROLES, (4, 6, 8), (8, 3, 16), strict=True)):
        one = three(base, lambda r=rank, a=alpha: lora(r, a), small_lora, tmp_path / str(seed))
        inputs[role.replace("-", "_")] = list(one.values())[seed]
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    wrapped = peft.PeftModel.from_pretrained(base.model, inputs["task"], adapter_name="task")
    for role in ("reference_target", "reference_source"):
        wrapped.load_adapter(inputs[role], adapter_name=role)
    wrapped.add_weighted_adapter(
        ["task", "reference_target", "reference_source"],
        weights=[1.0, SCALE, -SCALE],
        adapter_name="merged",
        combination_type="cat",
    )
    wrapped.set_adapter("merged")
    expected = logits(base, wrapped.eval())
    wrapped.unload()
    base.model.requires_grad_(False)
    check(base, in_peft(base, tmp_path / "out"), expected, in_peft(base, inputs["task"]))


def test_training_lowers_the_loss_and_its_adapter_is_scored(base, tmp_path):
    before = state(base)
    config = find_task("emoji", Path()).in_language("en")
    asked = Questions(config, emoji.rows("en", "train")[:30])
    rows = asked.examples()
    record = train_adapter(
        base,
        rows,
        tmp_path / "adapter",
        adapter={"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        training={
            "learning_rate": 5e-4,
            "num_train_epochs": 3,
            "per_device_train_batch_size": 10,
            "lr_scheduler_type": "constant",
        },
        seed=0,
        vocabulary=vocabulary_of(base, rows),
    )
    assert record["steps"] == 9
    first, last = np.mean(record["losses"][:3]), np.mean(record["losses"][-3:])
    assert last < 0.8 * first
    with base.adapted(tmp_path / "adapter") as model:
        ours = measured(base, model, asked)["score"]
    theirs = measured(base, base.model, asked)["score"]
    assert ours > theirs
    assert_untouched(base, before)


SIB200 = (
    ("science/technology", "The telescope found a new planet last year."),
    ("sports", "The striker scored twice before the break."),
    ("travel", "Most visitors take the night train to the coast."),
    ("health", "Wash your hands before you touch the wound."),
)


def test_lm_eval_with_our_files_gives_our_scores(base, tmp_path):
    """Its own command and its own model class, on a task and rows that `tasks` wrote."""
    data = tmp_path / "test.tsv"
    lines = [f"{i}\t{label}\t{text}" for i, (label, text) in enumerate(SIB200)]
    data.write_text("\n".join(["index_id\tcategory\ttext", *lines]) + "\n", encoding="utf-8")
    common = ["--language", "eng_Latn", "--data-files", f"test={data}"]
    ours = tmp_path / "ours.json"
    assert main(["tasks", "sib200", *common, "--output", str(tmp_path / "tasks")]) == 0
    asked = ["--model", BUILTIN, "--task", "sib200", "--output", str(ours)]
    assert main(["evaluate", *asked, *common]) == 0
    found = json.loads(ours.read_text())
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--tasks",
        "sib200_eng_Latn",
    ]
    command += ["--model_args", f"pretrained={base.model.name_or_path},dtype=float32"]
    command += ["--include_path", str(tmp_path / "tasks"), "--log_samples"]
    command += ["--output_path", str(tmp_path / "theirs")]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    (samples,) = (tmp_path / "theirs").rglob("samples_*.jsonl")
    theirs = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    theirs.sort(key=lambda sample: sample["doc_id"])
    assert [sample["acc"] for sample in theirs] == found["values"]
    for sample, logs in zip(theirs, found["log_likelihoods"], strict=True):
        wanted = [float(answer[0][0]) for answer in sample["resps"]]
        np.testing.assert_allclose(logs, wanted, atol=1e-3)
