"""Merged LoRA in a real model, against weights merged by hand in float64.

The merged adapter is stored in float32; the models on both sides compute in float64. So outputs of
size 1 to 10 agree to about 1e-6, and TOLERANCE leaves room for a factor of ten.
"""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from adamergex import merge
from tests.support.models import (
    IDS,
    QUIET,
    deltas,
    gpt2,
    llama,
    loaded,
    logits,
    lora_layers,
    randomised,
    t5,
    three_saved,
)

pytestmark = QUIET

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**options):
    options = {"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 6, "target_modules": ALL, **options}
    return lambda: LoraConfig(**options)


def with_updates(base, updates):
    """The base model in float64 with dense weight updates added."""
    model = base().double().eval()
    for name, update in updates.items():
        model.get_submodule(name).weight.data += update
    return model


def summed(base, inputs, scale):
    """ΔW_T + t (ΔW_Rt - ΔW_Rs) from PEFT's own dense updates, in float64."""
    t, rt, rs = (deltas(base, folder) for folder in inputs.values())
    return {name: t[name] + scale * (rt[name] - rs[name]) for name in t}


def check_weight_space(base, inputs, output, scale, **call):
    merge(**inputs, scale=scale, space="weight").save(output)
    found = logits(loaded(base, output), **call)
    wanted = logits(with_updates(base, summed(base, inputs, scale)), **call)
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    # The check means something only if the merge moved the model away from T.
    assert np.abs(found - logits(loaded(base, inputs["task"]), **call)).max() > 1e-2


VARIANTS = {
    "plain": lora(),
    "different ranks": [lora(r=2), lora(r=3, lora_alpha=3), lora(r=5)],
    "rslora": lora(r=3, use_rslora=True),
    "rslora in one only": [lora(), lora(r=3, use_rslora=True), lora()],
    "rank pattern": lora(rank_pattern={"down_proj": 4, "layers.1.self_attn.q_proj": 1}),
    "alpha pattern": lora(alpha_pattern={"k_proj": 1, r"layers\.0\..*_proj": 9}),
    "different patterns": [
        lora(rank_pattern={"q_proj": 3}, alpha_pattern={"up_proj": 1}),
        lora(rank_pattern={"v_proj": 1}, use_rslora=True),
        lora(r=4, alpha_pattern={"q_proj": 2}),
    ],
}


@pytest.mark.parametrize("configs", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("scale", [0.7, -1.3])
def test_weight_space_is_exact(tmp_path, configs, scale):
    inputs = three_saved(llama, configs, tmp_path)
    check_weight_space(llama, inputs, tmp_path / "out", scale)


def test_weights_stored_in_the_other_order(tmp_path):
    """GPT-2 keeps its weights (in, out): fan_in_fan_out."""
    config = lora(target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True)
    inputs = three_saved(gpt2, config, tmp_path)
    check_weight_space(gpt2, inputs, tmp_path / "out", 0.7)


def test_an_encoder_and_a_decoder(tmp_path):
    config = lora(task_type="SEQ_2_SEQ_LM", target_modules=["q", "v", "wo"])
    inputs = three_saved(t5, config, tmp_path)
    call = {"input_ids": IDS, "decoder_input_ids": IDS[:, :3]}
    check_weight_space(t5, inputs, tmp_path / "out", 0.7, **call)


def test_embeddings(tmp_path):
    config = lora(target_modules=["embed_tokens", "q_proj"])
    inputs = three_saved(llama, config, tmp_path)
    check_weight_space(llama, inputs, tmp_path / "out", 0.7)


def images():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, kernel_size=3, padding=1, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(5, 4, kernel_size=1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 6),
    ).eval()


@torch.no_grad()
def seen(model):
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return model(pixels.double()).numpy()


def test_convolutions(tmp_path):
    configs = [lora(task_type=None, target_modules=["0", "2", "4"], r=r) for r in (2, 3, 4)]
    inputs = three_saved(images, configs, tmp_path)
    merge(**inputs, scale=0.7).save(tmp_path / "out")
    found = seen(loaded(images, tmp_path / "out"))
    wanted = seen(with_updates(images, summed(images, inputs, 0.7)))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    assert np.abs(found - seen(loaded(images, inputs["task"]))).max() > 1e-2


def merged_factors(inputs, scale):
    """Module -> scaling (B_T + t (B_Rt - B_Rs)) (A_T + t (A_Rt - A_Rs)), in float64."""
    layers = [lora_layers(loaded(llama, folder)) for folder in inputs.values()]
    updates = {}
    for name in layers[0]:
        a_t, a_rt, a_rs = (x[name].lora_A["default"].weight.detach() for x in layers)
        b_t, b_rt, b_rs = (x[name].lora_B["default"].weight.detach() for x in layers)
        b, a = b_t + scale * (b_rt - b_rs), a_t + scale * (a_rt - a_rs)
        updates[name] = layers[0][name].scaling["default"] * (b @ a)
    return updates


@pytest.mark.parametrize(
    "config",
    [lora(), lora(use_rslora=True), lora(rank_pattern={"k_proj": 3}, alpha_pattern={"o_proj": 1})],
    ids=["plain", "rslora", "patterns"],
)
@pytest.mark.parametrize("scale", [0.7, -1.3])
def test_factor_space_is_as_published(tmp_path, config, scale):
    inputs = three_saved(llama, config, tmp_path)
    merge(**inputs, scale=scale, space="factor").save(tmp_path / "out")
    found = logits(loaded(llama, tmp_path / "out"))
    wanted = logits(with_updates(llama, merged_factors(inputs, scale)))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    # Cross terms: it is not the sum of the weight updates.
    exact = logits(with_updates(llama, summed(llama, inputs, scale)))
    assert np.abs(found - exact).max() > 1e-2


@pytest.mark.parametrize("space", ["factor", "weight"])
def test_scale_zero_is_the_task(tmp_path, space):
    inputs = three_saved(llama, lora(use_rslora=True, alpha_pattern={"q_proj": 1}), tmp_path)
    merge(**inputs, scale=0.0, space=space).save(tmp_path / "out")
    found, wanted = (logits(loaded(llama, x)) for x in (tmp_path / "out", inputs["task"]))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


@pytest.mark.parametrize("space", ["factor", "weight"])
def test_equal_references_are_the_task(tmp_path, space):
    inputs = three_saved(llama, lora(), tmp_path)
    inputs["reference_source"] = inputs["reference_target"]
    merge(**inputs, scale=2.0, space=space).save(tmp_path / "out")
    found, wanted = (logits(loaded(llama, x)) for x in (tmp_path / "out", inputs["task"]))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


@pytest.mark.parametrize("scale", [0.7, -1.3])
def test_weight_space_equals_pefts_own_concatenation(tmp_path, scale):
    inputs = three_saved(llama, lora(), tmp_path)
    model = PeftModel.from_pretrained(llama(), inputs["task"], adapter_name="task")
    for role in ("reference_target", "reference_source"):
        model.load_adapter(inputs[role], adapter_name=role)
    model.add_weighted_adapter(list(inputs), [1, scale, -scale], "cat", combination_type="cat")
    merge(**inputs, scale=scale).save(tmp_path / "out")
    ours = deltas(llama, tmp_path / "out")
    for name, layer in lora_layers(model.double()).items():
        theirs = layer.get_delta_weight("cat").detach()
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-4, atol=1e-5)


def test_the_result_is_portable(tmp_path):
    """One rank, alpha == r, no rsLoRA, no patterns: what vLLM and llama.cpp read right."""
    configs = [lora(r=2, use_rslora=True), lora(r=3, rank_pattern={"q_proj": 5}), lora(r=1)]
    inputs = three_saved(llama, configs, tmp_path)
    merge(**inputs).save(tmp_path / "out")
    layers = lora_layers(PeftModel.from_pretrained(llama(), tmp_path / "out"))
    assert {layer.r["default"] for layer in layers.values()} == {2 + 5 + 1}
    assert {layer.scaling["default"] for layer in layers.values()} == {1.0}


def test_the_result_can_be_merged_again(tmp_path):
    inputs = three_saved(llama, lora(), tmp_path)
    merge(**inputs, scale=0.7).save(tmp_path / "one")
    merge(**{**inputs, "task": tmp_path / "one"}, scale=0.3).save(tmp_path / "two")
    found = logits(loaded(llama, tmp_path / "two"))
    wanted = logits(with_updates(llama, summed(llama, inputs, 1.0)))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_the_random_adapters_are_not_trivial():
    """Guards the tests above: an adapter that changed nothing would pass them all."""
    with torch.no_grad():
        model = randomised(get_peft_model(llama(), lora()()), 0)
        assert np.abs(logits(model) - logits(llama())).max() > 1e-2
