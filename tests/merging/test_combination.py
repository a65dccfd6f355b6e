"""The rival rules for LoRA, against dense matrices multiplied out in float64."""

import json

import ml_dtypes
import numpy as np
import pytest

from adamergex.errors import InputError
from adamergex.merging import add, arimerge
from tests.support.folders import (
    PREFIX,
    config_of,
    dense_updates,
    edit_config,
    edit_tensors,
    snapshot,
    stored_tensors,
    three,
    write_ia3,
    write_lora,
)


def factors(folder):
    """Module -> (b with the scaling in it, a)."""
    tensors, config = stored_tensors(folder), config_of(folder)
    scaling = config["lora_alpha"] / config["r"]
    return {
        name.removesuffix(".lora_A.weight").removeprefix("base_model.model."): (
            scaling * tensors[name.replace("lora_A", "lora_B")],
            a,
        )
        for name, a in tensors.items()
        if name.endswith(".lora_A.weight")
    }


def two(inputs):
    return {role: inputs[role] for role in ("task", "reference_target")}


@pytest.mark.parametrize("scale", [0.7, -1.3, 0.0])
def test_add_is_the_sum_of_the_updates(tmp_path, scale):
    inputs = three(tmp_path)
    write_lora(inputs["reference_target"], 1, r=3, lora_alpha=5)
    add(**two(inputs), scale=scale, output=tmp_path / "out")
    t, rt = (dense_updates(folder) for folder in two(inputs).values())
    for module, found in dense_updates(tmp_path / "out").items():
        np.testing.assert_allclose(found, t[module] + scale * rt[module], atol=1e-5)


def test_add_is_exact_for_half_precision_too(tmp_path):
    inputs = three(tmp_path, write_lora, dtype=ml_dtypes.bfloat16)
    add(**two(inputs), scale=0.7, output=tmp_path / "out")
    t, rt = (dense_updates(folder) for folder in two(inputs).values())
    for module, found in dense_updates(tmp_path / "out").items():
        np.testing.assert_allclose(found, t[module] + 0.7 * rt[module], atol=1e-5)


@pytest.mark.parametrize("c", [0.7, -1.3, 0.0])
def test_arimerge_negates_the_source_in_b_only(tmp_path, c):
    inputs = three(tmp_path)
    edit_config(inputs["reference_source"], lora_alpha=3)
    arimerge(**inputs, c=c, output=tmp_path / "out")
    t, rt, rs = (factors(folder) for folder in inputs.values())
    for module, found in dense_updates(tmp_path / "out").items():
        (b_t, a_t), (b_rt, a_rt), (b_rs, a_rs) = t[module], rt[module], rs[module]
        wanted = (b_t + c * (b_rt - b_rs)) @ (a_t + c * (a_rt + a_rs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_arimerge_needs_one_rank(tmp_path):
    inputs = three(tmp_path)
    write_lora(inputs["reference_source"], r=3)
    with pytest.raises(InputError, match="rank"):
        arimerge(**inputs, c=1.0, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_both_take_plain_lora_only(tmp_path):
    inputs = three(tmp_path, write_ia3)
    with pytest.raises(InputError, match="plain LoRA"):
        add(**two(inputs), scale=1.0, output=tmp_path / "out")
    with pytest.raises(InputError, match="plain LoRA"):
        arimerge(**inputs, c=1.0, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_factor_that_is_not_finite_is_refused(tmp_path):
    inputs = three(tmp_path)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError):
            add(**two(inputs), scale=bad, output=tmp_path / "out")
        with pytest.raises(InputError):
            arimerge(**inputs, c=bad, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_head_of_the_task_is_kept(tmp_path):
    """A config that promises a head must come with it."""
    inputs = three(tmp_path, write_lora, modules_to_save=["score"])
    head = "base_model.model.score.weight"
    edit_tensors(inputs["task"], {head: np.ones((3, 8), np.float32)})
    add(**two(inputs), scale=1.0, output=tmp_path / "add")
    arimerge(**inputs, c=1.0, output=tmp_path / "arimerge")
    for name in ("add", "arimerge"):
        np.testing.assert_array_equal(stored_tensors(tmp_path / name)[head], 1.0)


def test_trained_biases_are_kept_or_refused(tmp_path):
    inputs = three(tmp_path, write_lora, bias="all")
    name = f"{PREFIX}.0.mlp.up_proj.bias"
    for folder in inputs.values():
        edit_tensors(folder, {name: np.ones(8, np.float32)})
    try:
        add(**two(inputs), scale=1.0, output=tmp_path / "out")
    except InputError as error:
        assert "bias" in str(error)
    else:
        assert name in stored_tensors(tmp_path / "out")


def test_the_manifest_names_the_rule(tmp_path):
    inputs = three(tmp_path)
    for name in ("one", "two"):
        add(**two(inputs), scale=0.7, output=tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    manifest = json.loads((tmp_path / "one" / "merge_manifest.json").read_text())
    assert (manifest["space"], manifest["scale"], manifest["rank"]) == ("add", 0.7, 4)
    assert set(manifest["inputs"]) == {"task", "reference_target"}
    assert "Made from 2 adapters" in (tmp_path / "one" / "README.md").read_text()
    arimerge(**inputs, c=0.7, output=tmp_path / "three")
    for name, formula in (("one", "W_T + t W_Rt"), ("three", "A_T + t (A_Rt + A_Rs)")):
        manifest = json.loads((tmp_path / name / "merge_manifest.json").read_text())
        assert formula in manifest["formula"]
        assert manifest["formula"] in (tmp_path / name / "README.md").read_text()
