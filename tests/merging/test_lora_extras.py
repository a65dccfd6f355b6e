"""What LoRA brings along: DoRA magnitudes, biases, and heads that are saved whole."""

import numpy as np
import pytest
import torch
from peft import LoraConfig

from adamergex import merge
from tests.support.folders import edit_tensors, stored_tensors
from tests.support.models import (
    QUIET,
    deltas,
    gpt2,
    gpt2_classifier,
    llama,
    loaded,
    logits,
    lora_layers,
    three_saved,
    xlmr,
    xlmr_masked,
)

pytestmark = QUIET

SCALE = 0.7
# Float32 storage on one side, float64 arithmetic on both; see test_lora.py.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


TARGETS = ["query", "value", "intermediate.dense"]


def lora(**options):
    return lambda: LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 6, **options})


def summed(bases, inputs):
    t, rt, rs = (deltas(base, x) for base, x in zip(bases, inputs.values(), strict=True))
    return {name: t[name] + SCALE * (rt[name] - rs[name]) for name in t}


def multiplied(t, rt, rs):
    return t * (SCALE * (rt / rs - 1) + 1)


def added(t, rt, rs):
    return t + SCALE * (rt - rs)


def normalised(weight, magnitude):
    """DoRA: every row of W + ΔW scaled to its magnitude (arXiv 2402.09353, equation 5)."""
    return magnitude[:, None] * weight / torch.linalg.norm(weight, dim=1, keepdim=True)


@pytest.mark.parametrize("configs", ["equal", "different"])
def test_dora(tmp_path, configs):
    targets = {"use_dora": True, "target_modules": ["q_proj", "down_proj"]}
    ranks = (2, 2, 2) if configs == "equal" else (2, 3, 1)
    inputs = three_saved(llama, [lora(r=r, **targets) for r in ranks], tmp_path)
    merge(**inputs, scale=SCALE).save(tmp_path / "out")

    layers = [lora_layers(loaded(llama, folder)) for folder in inputs.values()]
    model = llama().double()
    for name, update in summed([llama] * 3, inputs).items():
        magnitudes = (x[name].lora_magnitude_vector["default"].weight.detach() for x in layers)
        weight = model.get_submodule(name).weight
        weight.data = normalised(weight.data + update, multiplied(*magnitudes))
    found = logits(loaded(llama, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(model), **TOLERANCE)
    assert np.abs(found - logits(loaded(llama, inputs["task"]))).max() > 1e-2


@pytest.mark.parametrize("space", ["factor", "weight"])
def test_dora_at_scale_zero_is_the_task(tmp_path, space):
    config = lora(use_dora=True, target_modules=["q_proj", "down_proj"])
    inputs = three_saved(llama, config, tmp_path)
    merge(**inputs, scale=0.0, space=space).save(tmp_path / "out")
    found, wanted = (logits(loaded(llama, x)) for x in (tmp_path / "out", inputs["task"]))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_dora_counts_guarded_magnitudes(tmp_path):
    config = lora(use_dora=True, target_modules=["q_proj"])
    inputs = three_saved(llama, config, tmp_path)
    name = next(k for k in stored_tensors(inputs["task"]) if "magnitude" in k)
    edit_tensors(inputs["reference_source"], {name: np.zeros(16, np.float32)})
    outcome = merge(**inputs).save(tmp_path / "out")
    assert outcome.guarded == 16
    kept, task = (stored_tensors(x)[name] for x in (tmp_path / "out", inputs["task"]))
    np.testing.assert_array_equal(kept, task)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_biases_of_lora_b(tmp_path, use_rslora):
    """PEFT scales them with the product, so they are merged scaled: here with three scalings."""
    configs = [
        lora(task_type=None, lora_bias=True, r=r, use_rslora=use_rslora, target_modules=TARGETS)
        for r in (2, 3, 4)
    ]
    inputs = three_saved(xlmr_masked, configs, tmp_path)
    merge(**inputs, scale=SCALE).save(tmp_path / "out")

    layers = [lora_layers(loaded(xlmr_masked, folder)) for folder in inputs.values()]
    model = xlmr_masked().double()
    for name, update in summed([xlmr_masked] * 3, inputs).items():
        biases = [
            x[name].scaling["default"] * x[name].lora_B["default"].bias.detach() for x in layers
        ]
        module = model.get_submodule(name)
        module.weight.data += update
        module.bias.data += added(*biases)
    found = logits(loaded(xlmr_masked, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(model), **TOLERANCE)
    assert np.abs(found - logits(loaded(xlmr_masked, inputs["task"]))).max() > 1e-2


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_biases_of_the_base_model(tmp_path, bias):
    """They are stored as values; the base model's share cancels in Rt - Rs."""
    config = lora(bias=bias, target_modules=["c_attn"], fan_in_fan_out=True)
    inputs = three_saved(gpt2, config, tmp_path, touched=lambda name: name.endswith("bias"))
    merge(**inputs, scale=SCALE).save(tmp_path / "out")

    model = gpt2().double()
    for name, update in summed([gpt2] * 3, inputs).items():
        model.get_submodule(name).weight.data += update
    stored = [stored_tensors(folder) for folder in inputs.values()]
    names = [name for name in stored[0] if name.endswith(".bias")]
    assert len(names) == (2 if bias == "lora_only" else 13)
    for name in names:
        place = name.removeprefix("base_model.model.").replace(".base_layer", "")
        model.get_parameter(place).data = torch.tensor(added(*(x[name] for x in stored)))
    found = logits(loaded(gpt2, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(model), **TOLERANCE)
    assert np.abs(found - logits(loaded(gpt2, inputs["task"]))).max() > 1e-2


def five_classes():
    return gpt2_classifier(labels=5)


@pytest.mark.parametrize("reference", [gpt2, five_classes, gpt2_classifier])
def test_the_head_is_kept_from_the_task(tmp_path, reference):
    """The references have no such head, one of another shape, or one of the same shape."""
    options = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
    task = three_saved(
        gpt2_classifier,
        lora(task_type="SEQ_CLS", **options),
        tmp_path / "a",
        touched=lambda name: "score.modules_to_save" in name,
    )
    task_type = "CAUSAL_LM" if reference is gpt2 else "SEQ_CLS"
    others = three_saved(reference, lora(task_type=task_type, **options), tmp_path / "b")
    inputs = {**others, "task": task["task"]}
    inputs = {role: inputs[role] for role in task}  # T first, as `summed` takes them
    merged = merge(**inputs, scale=SCALE)
    merged.save(tmp_path / "out")

    name = "base_model.model.score.weight"
    assert merged.summary["kept_from_task"] == [name]
    assert merged.summary["ignored_in_references"] == ([] if reference is gpt2 else [name])
    head = stored_tensors(inputs["task"])[name]
    np.testing.assert_array_equal(stored_tensors(tmp_path / "out")[name], head)

    model = gpt2_classifier().double()
    for module, update in summed([gpt2_classifier, reference, reference], inputs).items():
        model.get_submodule(module).weight.data += update
    model.score.weight.data = torch.tensor(head)
    found = logits(loaded(gpt2_classifier, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(model), **TOLERANCE)


def head_of(folder):
    return {k: x for k, x in stored_tensors(folder).items() if "classifier" in k}


@pytest.mark.parametrize("bias", ["none", "all"])
def test_a_head_with_biases_is_kept_whole(tmp_path, bias):
    """XLM-R's: with bias="all" its biases stand in the file among those of the base model."""
    config = lora(task_type="SEQ_CLS", bias=bias, target_modules=["query", "value"])
    inputs = three_saved(
        xlmr, config, tmp_path, touched=lambda name: "classifier.modules_to_save" in name
    )
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    found, wanted = head_of(tmp_path / "out"), head_of(inputs["task"])
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_classifier_takes_references_from_language_modelling(tmp_path):
    """The case the paper has for encoders: T classifies, Rt and Rs fill in masked words."""
    task = three_saved(xlmr, lora(task_type="SEQ_CLS", target_modules=["query"]), tmp_path / "a")
    others = three_saved(
        xlmr_masked, lora(task_type=None, target_modules=["query"]), tmp_path / "b"
    )
    inputs = {"task": task["task"], **{k: v for k, v in others.items() if k != "task"}}
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    model = xlmr().double()
    for module, update in summed([xlmr, xlmr_masked, xlmr_masked], inputs).items():
        model.get_submodule(module).weight.data += update
    for name, value in head_of(inputs["task"]).items():
        model.get_parameter(name.removeprefix("base_model.model.")).data = torch.tensor(value)
    found = logits(loaded(xlmr, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(model), **TOLERANCE)


@pytest.mark.parametrize(("whole", "count"), [("lm_head", 1), ("norm", 5)])
def test_modules_to_save_of_the_references_are_ignored(tmp_path, whole, count):
    """PEFT takes every module whose name ends so: "norm" is all the norms of all the layers."""
    configs = [lora(target_modules=["q_proj"], modules_to_save=[whole]) for _ in range(3)]
    configs[0] = lora(target_modules=["q_proj"])
    inputs = three_saved(llama, configs, tmp_path)
    merged = merge(**inputs, scale=SCALE)
    merged.save(tmp_path / "out")
    assert len(merged.summary["ignored_in_references"]) == count
    assert not any(whole in name for name in stored_tensors(tmp_path / "out"))
