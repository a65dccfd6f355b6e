"""Tensor names: sorted by what they are, refused where the config does not explain them."""

import numpy as np
import pytest

from adamergex.checkpoint import layer_of, model_module, open_checkpoint
from adamergex.checkpoint.names import checked_name
from adamergex.errors import InputError
from tests.support.folders import (
    LORA,
    PREFIX,
    edit_tensors,
    lora_tensors,
    write_adapter,
    write_ia3,
    write_lora,
    write_prefix,
)

Q = f"{PREFIX}.0.self_attn.q_proj"
ONE = np.ones((2, 2), np.float32)


def opened(folder, extra=None, **config):
    write_adapter(folder, {**LORA, **config}, {**lora_tensors(0), **(extra or {})})
    return open_checkpoint(folder)


def refused(folder, extra, **config):
    with pytest.raises(InputError) as caught:
        opened(folder, extra, **config)
    assert "adapter_model.safetensors" in str(caught.value)
    return str(caught.value)


def test_lora_modules_and_parts(tmp_path):
    layout = opened(tmp_path).layout
    assert len(layout.modules) == 4
    assert dict(layout.modules[Q]) == {"a": f"{Q}.lora_A.weight", "b": f"{Q}.lora_B.weight"}
    assert layout.biases == layout.whole == ()


def test_ia3_and_prefix_parts(tmp_path):
    ia3 = open_checkpoint(write_ia3(tmp_path / "ia3")).layout
    assert all(set(parts) == {"vector"} for parts in ia3.modules.values())
    prefix = open_checkpoint(write_prefix(tmp_path / "prefix")).layout
    assert dict(prefix.modules["prompt_embeddings"]) == {"prefix": "prompt_embeddings"}


def test_heads_embeddings_and_biases_are_told_apart(tmp_path):
    extra = {
        "base_model.model.score.weight": ONE,
        "base_model.model.model.embed_tokens.weight": ONE,
        f"{Q}.base_layer.bias": np.ones(8, np.float32),
    }
    layout = opened(tmp_path, extra, task_type="SEQ_CLS", bias="all").layout
    assert layout.whole == tuple(sorted(list(extra)[:2]))
    assert layout.biases == (f"{Q}.base_layer.bias",)


def test_the_bias_of_a_saved_head_belongs_to_the_head(tmp_path):
    """With bias="all" too: a head is kept from the task, never merged with another task's head."""
    extra = {
        "base_model.model.classifier.dense.weight": ONE,
        "base_model.model.classifier.dense.bias": np.ones(2, np.float32),
    }
    layout = opened(tmp_path, extra, modules_to_save=["classifier"], bias="all").layout
    assert layout.whole == tuple(sorted(extra))
    assert layout.biases == ()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("base_model.model.score.weight", {}),
        ("base_model.model.scores.weight", {"modules_to_save": ["score"]}),
        (f"{Q}.bias", {}),
        (f"{Q}.lora_C.weight", {}),
        (f"{Q}.lora_A.default.weight", {}),
        (f"{Q}.lora_A.bias", {}),
        ("nothing", {}),
    ],
)
def test_a_tensor_that_the_config_does_not_explain_is_refused(tmp_path, name, config):
    assert name in refused(tmp_path, {name: ONE}, **config)


@pytest.mark.parametrize("name", ["a/b", "a b", "../x", "é", "a\nb", "", "..", "a:b"])
def test_a_name_outside_the_allowed_set_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="only letters, digits"):
        checked_name(name, "file")
    if name:  # safetensors itself takes any name
        assert "only letters, digits" in refused(tmp_path, {name: ONE})


@pytest.mark.parametrize("missing", ["lora_A", "lora_B"])
def test_half_a_module_is_refused(tmp_path, missing):
    with pytest.raises(InputError, match="needed a and b"):
        open_checkpoint(edit_tensors(write_lora(tmp_path), {f"{Q}.{missing}.weight": None}))


@pytest.mark.parametrize(
    ("config", "needed"),
    [({"use_dora": True}, "magnitude"), ({"lora_bias": True}, "bias")],
)
def test_a_part_that_the_config_promises_must_be_there(tmp_path, config, needed):
    assert f"needed a and b and {needed}" in refused(tmp_path, {}, **config)


@pytest.mark.parametrize(
    "name", [f"{Q}.lora_magnitude_vector", f"{Q}.lora_B.bias", f"{Q}.ia3_l"], ids=lambda n: n[-8:]
)
def test_a_part_of_another_structure_is_refused(tmp_path, name):
    refused(tmp_path, {name: np.ones(8, np.float32)})


def test_a_file_without_adapter_tensors_is_refused(tmp_path):
    head = {"base_model.model.score.weight": ONE}
    write_adapter(tmp_path, {**LORA, "modules_to_save": ["score"]}, head)
    with pytest.raises(InputError, match="no adapter tensor"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("base_model.model.model.layers.11.mlp.up_proj", 11),
        ("base_model.model.transformer.h.3.attn.c_attn", 3),
        ("base_model.model.roberta.encoder.layer.0.attention.self.query", 0),
        ("base_model.model.encoder.block.2.layer.0.SelfAttention.q", 2),
        ("base_model.model.model.embed_tokens", None),
        ("base_model.model.mylayers.3.x", None),
    ],
)
def test_layer_numbers(module, layer):
    assert layer_of(module) == layer


def test_module_names_lose_only_pefts_own_prefix():
    assert model_module("base_model.model.model.layers.0.q") == "model.layers.0.q"
    assert model_module("model.base_model.model.q") == "model.base_model.model.q"
