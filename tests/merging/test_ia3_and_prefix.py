"""Merged (IA)3 and prefixes in a real model, against the formulas applied by hand in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import IA3Config, PrefixTuningConfig

from adamergex import merge
from adamergex.errors import InputError
from tests.support.folders import (
    PREFIX_TUNING,
    edit_config,
    edit_tensors,
    stored_tensors,
    write_adapter,
)
from tests.support.models import IDS, QUIET, gpt2, llama, loaded, logits, t5, three_saved

pytestmark = QUIET

SCALE = 0.7
# Float32 storage on one side, float64 arithmetic on both; see test_lora.py.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def ia3(**options):
    modules = {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    return lambda: IA3Config(**{"task_type": "CAUSAL_LM", **modules, **options})


def linear(t, rt, rs):
    return t * (SCALE * (rt / rs - 1) + 1)


def geometric(t, rt, rs):
    return t * (rt / rs) ** SCALE


def rescaled(base, inputs, rule, *, transposed=False):
    """The base model with each weight multiplied by its merged vector.

    PEFT keeps a vector as (out, 1) where it multiplies a module's output, and as (1, in) where it
    multiplies its input (feed-forward): both broadcast against a weight of (out, in).
    """
    model = base().double()
    stored = [stored_tensors(folder) for folder in inputs.values()]
    for name in stored[0]:
        vector = rule(*(x[name] for x in stored))
        module = name.removeprefix("base_model.model.").removesuffix(".ia3_l")
        factor = torch.tensor(vector.T if transposed else vector)
        weight = model.get_submodule(module).weight
        weight.data = weight.data * factor
        bias = getattr(model.get_submodule(module), "bias", None)
        if bias is not None and vector.shape[0] != 1:
            bias.data = bias.data * torch.tensor(vector).flatten()
    return model


@pytest.mark.parametrize("rule", [linear, geometric])
def test_ia3(tmp_path, rule):
    inputs = three_saved(llama, ia3(), tmp_path)
    outcome = merge(**inputs, scale=SCALE, ia3=rule.__name__).save(tmp_path / "out")
    found = logits(loaded(llama, tmp_path / "out"))
    np.testing.assert_allclose(found, logits(rescaled(llama, inputs, rule)), **TOLERANCE)
    assert np.abs(found - logits(loaded(llama, inputs["task"]))).max() > 1e-2
    assert outcome.guarded == 0


def test_ia3_on_weights_stored_in_the_other_order(tmp_path):
    options = {"target_modules": ["c_attn", "c_fc"], "feedforward_modules": ["c_fc"]}
    inputs = three_saved(gpt2, ia3(fan_in_fan_out=True, **options), tmp_path)
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    found = logits(loaded(gpt2, tmp_path / "out"))
    wanted = logits(rescaled(gpt2, inputs, linear, transposed=True))
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_ia3_counts_what_it_guards(tmp_path):
    inputs = three_saved(llama, ia3(), tmp_path)
    name, value = next(iter(stored_tensors(inputs["reference_source"]).items()))
    value.flat[:2] = (0.0, 1e-5)
    edit_tensors(inputs["reference_source"], {name: value.astype(np.float32)})
    outcome = merge(**inputs).save(tmp_path / "out")
    assert outcome.guarded == 2
    kept, task = (stored_tensors(x)[name].flat[:2] for x in (tmp_path / "out", inputs["task"]))
    np.testing.assert_array_equal(kept, task)


def prefix(**options):
    return lambda: PrefixTuningConfig(
        **{"task_type": "CAUSAL_LM", "num_virtual_tokens": 3, **options}
    )


def merged_prefix(inputs, layers):
    """The paper's formula for each layer's keys and values: columns layer by layer, keys first."""
    t, rt, rs = (stored_tensors(folder)["prompt_embeddings"] for folder in inputs.values())
    width = t.shape[1] // (2 * layers)
    eye = np.eye(len(t))
    blocks = [slice(i * width, (i + 1) * width) for i in range(2 * layers)]
    return np.concatenate(
        [(SCALE * (rt[:, b] @ np.linalg.pinv(rs[:, b]) - eye) + eye) @ t[:, b] for b in blocks],
        axis=1,
    )


def check_prefix(base, inputs, output, **call):
    merge(**inputs, scale=SCALE).save(output)
    # The task's own model, with nothing but its prefix replaced.
    model = loaded(base, inputs["task"])
    before = logits(model, **call)
    weight = model.prompt_encoder["default"].embedding.weight
    merged = torch.tensor(merged_prefix(inputs, layers=2))
    weight.data[: len(merged)] = merged
    found = logits(loaded(base, output), **call)
    np.testing.assert_allclose(found, logits(model, **call), **TOLERANCE)
    assert np.abs(found - before).max() > 1e-2


@pytest.mark.parametrize("base", [llama, gpt2])
def test_prefix(tmp_path, base):
    check_prefix(base, three_saved(base, prefix(), tmp_path), tmp_path / "out")


def test_prefix_for_an_encoder_and_a_decoder(tmp_path):
    inputs = three_saved(t5, prefix(task_type="SEQ_2_SEQ_LM"), tmp_path)
    merge(**inputs, scale=SCALE).save(tmp_path / "out")
    found = stored_tensors(tmp_path / "out")["prompt_embeddings"]
    np.testing.assert_allclose(found, merged_prefix(inputs, layers=2), **TOLERANCE)
    call = {"input_ids": IDS, "decoder_input_ids": IDS[:, :3]}
    assert np.isfinite(logits(loaded(t5, tmp_path / "out"), **call)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(-2, 2))
def test_where_rs_is_t_a_prefix_walks_to_rt_and_gets_there(tmp_path_factory, seed, scale):
    """The pseudo-inverse would keep what lies in the row space of Rs: 3 dimensions of 8 here."""
    folder = tmp_path_factory.mktemp("prefixes")
    rng = np.random.default_rng(seed)
    t, rt = (rng.normal(size=(3, 32)).astype(np.float32) for _ in range(2))
    inputs = {
        role: write_adapter(folder / role, PREFIX_TUNING, {"prompt_embeddings": values})
        for role, values in (("task", t), ("reference_target", rt), ("reference_source", t))
    }
    walked = t + scale * (rt.astype(np.float64) - t)
    for name, at, wanted in (("between", scale, walked), ("there", 1.0, rt)):
        merge(**inputs, scale=at).save(folder / name)
        found = stored_tensors(folder / name)["prompt_embeddings"]
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_projected_prefix_is_merged_as_it_was_saved(tmp_path):
    """PEFT saves what the projection makes, so that the merged prefix needs none."""
    config = prefix(prefix_projection=True, encoder_hidden_size=5)
    check_prefix(llama, three_saved(llama, config, tmp_path), tmp_path / "out")


def test_prefixes_cut_into_different_layers_do_not_merge(tmp_path):
    """The same number of columns, but other columns belong together."""
    inputs = three_saved(llama, prefix(), tmp_path)
    edit_config(inputs["reference_source"], num_layers=1)
    with pytest.raises(InputError, match="num_layers"):
        merge(**inputs)
