"""Three adapters that do not fit together are refused before a tensor is read, by what differs."""

import numpy as np
import pytest

from adamergex import merge
from adamergex.errors import InputError
from adamergex.merging import MergeOptions
from tests.support.folders import (
    LORA,
    PREFIX,
    edit_config,
    edit_tensors,
    lora_tensors,
    three,
    write_adapter,
    write_ia3,
    write_lora,
    write_prefix,
)

Q = f"{PREFIX}.0.self_attn.q_proj"
ROLES = ("reference_target", "reference_source")


def refused(inputs, *parts, **options):
    """Every part stands in the message, which is one line."""
    with pytest.raises(InputError) as caught:
        merge(**inputs, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("write", [write_ia3, write_prefix])
def test_different_structures(tmp_path, role, write):
    inputs = three(tmp_path)
    inputs[role] = write(tmp_path / "other")
    refused(inputs, inputs[role], "peft_type")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_model_name_or_path", "other/model"),
        ("base_model_name_or_path", None),
        ("revision", "v2"),
    ],
)
def test_different_base_models(tmp_path, role, field, value):
    inputs = three(tmp_path)
    edit_config(inputs[role], **{field: value})
    refused(inputs, inputs[role], field, "allow-different-base")
    merge(**inputs, allow_different_base=True)


@pytest.mark.parametrize("role", ROLES)
def test_a_module_that_only_the_task_has(tmp_path, role):
    inputs = three(tmp_path)
    edit_tensors(inputs[role], {f"{Q}.lora_A.weight": None, f"{Q}.lora_B.weight": None})
    refused(inputs, inputs[role], Q, "no such module")


@pytest.mark.parametrize("role", ROLES)
def test_a_module_that_only_a_reference_has(tmp_path, role):
    inputs = three(tmp_path)
    tensors = lora_tensors(0, modules=("q_proj", "k_proj", "v_proj"))
    write_adapter(inputs[role], LORA, tensors)
    refused(inputs, inputs[role], "k_proj", "a module")


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_shapes_that_differ_by_more_than_the_rank(tmp_path, part):
    inputs = three(tmp_path)
    shape = (2, 9) if part == "lora_A" else (9, 2)
    edit_tensors(inputs["reference_target"], {f"{Q}.{part}.weight": np.ones(shape)})
    refused(inputs, inputs["reference_target"], Q, shape, "8")


@pytest.mark.parametrize("role", ROLES)
def test_factor_space_needs_one_rank(tmp_path, role):
    inputs = three(tmp_path)
    write_lora(inputs[role], r=3)
    refused(inputs, inputs[role], "rank", 3, 2, "weight space", space="factor")
    merge(**inputs, space="weight")


@pytest.mark.parametrize("changes", [{"lora_alpha": 8}, {"use_rslora": True}], ids=str)
def test_factor_space_needs_one_scaling(tmp_path, changes):
    inputs = three(tmp_path)
    edit_config(inputs["reference_source"], **changes)
    refused(inputs, inputs["reference_source"], "scaling", "weight space", space="factor")
    merge(**inputs, space="weight")


@pytest.mark.parametrize("field", ["use_dora", "lora_bias"])
def test_variants_do_not_mix(tmp_path, field):
    inputs = three(tmp_path)
    part = "lora_magnitude_vector" if field == "use_dora" else "lora_B.bias"
    modules = {name.rsplit(".lora_", 1)[0] for name in lora_tensors(0)}
    edit_tensors(inputs["task"], {f"{m}.{part}": np.ones(8, np.float32) for m in modules})
    edit_config(inputs["task"], **{field: True})
    refused(inputs, inputs["reference_target"], field)


def with_bias(folder, names, size=8):
    biases = {f"{PREFIX}.0.{name}.bias": np.ones(size, np.float32) for name in names}
    return edit_config(edit_tensors(folder, biases), bias="all")


def test_trained_biases_must_be_the_same_ones(tmp_path):
    inputs = three(tmp_path)
    for folder in inputs.values():
        with_bias(folder, ["mlp.up_proj"])
    merge(**inputs)
    with_bias(inputs["reference_source"], ["mlp.down_proj"])
    refused(inputs, inputs["reference_source"], "mlp.down_proj.bias")


def test_trained_biases_must_have_one_shape(tmp_path):
    inputs = three(tmp_path)
    for folder in inputs.values():
        with_bias(folder, ["mlp.up_proj"])
    with_bias(inputs["reference_target"], ["mlp.up_proj"], size=9)
    refused(inputs, inputs["reference_target"], "mlp.up_proj.bias", 9, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": "1"},
        {"scale": True},
        {"rank": 0},
        {"rank": -1},
        {"rank": 2.5},
        {"rank": True},
        {"rank": "all"},
        {"space": "both"},
        {"dtype": "int8"},
        {"ia3": "cubic"},
        {"space": "factor", "rank": 2},
    ],
    ids=str,
)
def test_options_are_checked_before_any_file(tmp_path, options):
    nowhere = dict.fromkeys(("task", *ROLES), tmp_path / "nowhere")
    name = "rank" if "rank" in options else next(iter(options))
    assert refused(nowhere, **options).startswith(f"{name}: ")
    with pytest.raises(InputError):
        MergeOptions(**options)


@pytest.mark.parametrize(
    "options", [{"space": "factor"}, {"space": "weight"}, {"rank": 2}], ids=str
)
@pytest.mark.parametrize("write", [write_ia3, write_prefix])
def test_options_of_lora_are_refused_elsewhere(tmp_path, write, options):
    """Silence would let a user believe that they had an effect."""
    refused(three(tmp_path, write), *options, **options)


@pytest.mark.parametrize("write", [write_lora, write_prefix])
def test_the_option_of_ia3_is_refused_elsewhere(tmp_path, write):
    refused(three(tmp_path, write), "ia3", ia3="geometric")
