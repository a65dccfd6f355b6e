"""The rules of rival methods, against dense matrices multiplied out in float64."""

import json

import ml_dtypes
import numpy as np
import pytest

from adamergex.checkpoint import layer_of
from adamergex.errors import InputError
from adamergex.merging.combination import _outermost, arimerge, layer_swap, weighted
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
    write_prefix,
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


def add(*, scale, output, **folders):
    """T + scale Rt."""
    weights = {"task": 1.0, "reference_target": scale}
    return weighted(adapters=folders, weights=weights, output=output, rule="add", scale=scale)


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


@pytest.mark.parametrize("c0", [0.84, -1.3, 1.0])
def test_arimerge_negates_the_source_in_b_only(tmp_path, c0):
    inputs = three(tmp_path)
    edit_config(inputs["reference_source"], lora_alpha=3)
    arimerge(**inputs, c0=c0, output=tmp_path / "out")
    t, rt, rs = (factors(folder) for folder in inputs.values())
    for module, found in dense_updates(tmp_path / "out").items():
        (b_t, a_t), (b_rt, a_rt), (b_rs, a_rs) = t[module], rt[module], rs[module]
        c1 = 1 - c0
        wanted = (c0 * b_t + c1 * (b_rt - b_rs)) @ (c0 * a_t + c1 * (a_rt + a_rs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_arimerge_needs_one_rank(tmp_path):
    inputs = three(tmp_path)
    write_lora(inputs["reference_source"], r=3)
    with pytest.raises(InputError, match="rank"):
        arimerge(**inputs, c0=0.0, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_more_than_its_structures_tensors_is_refused(tmp_path):
    inputs = three(tmp_path)
    for folder in inputs.values():
        edit_config(folder, use_dora=True)
        tensors = stored_tensors(folder)
        magnitudes = {
            name.replace("lora_A.weight", "lora_magnitude_vector"): np.ones(
                len(tensors[name.replace("lora_A", "lora_B")]), np.float32
            )
            for name in tensors
            if name.endswith("lora_A.weight")
        }
        edit_tensors(folder, magnitudes)
    for rule in (
        lambda: add(**two(inputs), scale=1.0, output=tmp_path / "out"),
        lambda: arimerge(**inputs, c0=0.0, output=tmp_path / "out"),
        lambda: layer_swap(**two(inputs), scale=0.5, output=tmp_path / "out"),
    ):
        with pytest.raises(InputError, match="plain LoRA"):
            rule()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_language_and_task_arithmetic(tmp_path, t):
    """(1 - t) T + t (Rt - Rs); a weight of 0 costs no rank."""
    inputs = three(tmp_path)
    weights = {"task": 1 - t, "reference_target": t, "reference_source": -t}
    weighted(adapters=inputs, weights=weights, output=tmp_path / "out")
    task, rt, rs = (dense_updates(folder) for folder in inputs.values())
    for module, found in dense_updates(tmp_path / "out").items():
        wanted = (1 - t) * task[module] + t * (rt[module] - rs[module])
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    ranks = [config_of(folder)["r"] for folder in inputs.values()]
    used = [r for r, weight in zip(ranks, weights.values(), strict=True) if weight]
    assert config_of(tmp_path / "out")["r"] == sum(used)


@pytest.mark.parametrize(("write", "neutral"), [(write_ia3, 1.0), (write_prefix, 0.0)])
def test_other_structures_are_added_from_where_they_do_nothing(tmp_path, write, neutral):
    inputs = three(tmp_path, write)
    weights = {"task": 0.5, "reference_target": 2.0, "reference_source": -0.7}
    weighted(adapters=inputs, weights=weights, output=tmp_path / "sum")
    arimerge(**inputs, c0=0.6, output=tmp_path / "arimerge")
    t, rt, rs = (stored_tensors(folder) for folder in inputs.values())
    for name in t:
        parts = [x[name].astype(np.float64) - neutral for x in (t, rt, rs)]
        wanted = neutral + 0.5 * parts[0] + 2 * parts[1] - 0.7 * parts[2]
        np.testing.assert_allclose(stored_tensors(tmp_path / "sum")[name], wanted, atol=1e-5)
        wanted = neutral + 0.6 * parts[0] + 0.4 * (parts[1] - parts[2])
        np.testing.assert_allclose(stored_tensors(tmp_path / "arimerge")[name], wanted, atol=1e-5)


@pytest.mark.parametrize(("scale", "swapped"), [(0.0, set()), (0.5, {0}), (1.0, {0, 1})])
def test_layers_change_hands_from_the_outside_in(tmp_path, scale, swapped):
    inputs = three(tmp_path)
    write_lora(inputs["reference_target"], 1, r=3, lora_alpha=5)
    layer_swap(**two(inputs), scale=scale, output=tmp_path / "out")
    t, rt = (dense_updates(folder) for folder in two(inputs).values())
    found = dense_updates(tmp_path / "out")
    assert {layer_of(module) for module in found} == {0, 1}
    for module, update in found.items():
        wanted = rt[module] if layer_of(module) in swapped else t[module]
        np.testing.assert_allclose(update, wanted, atol=1e-6)


def test_half_of_the_layers_are_at_the_bottom_and_half_at_the_top():
    assert _outermost(18, 5) == {0, 1, 2, 16, 17}
    assert _outermost(4, 4) == {0, 1, 2, 3}
    assert _outermost(4, 0) == set()


@pytest.mark.parametrize("write", [write_ia3, write_prefix])
def test_layers_of_other_structures(tmp_path, write):
    inputs = three(tmp_path, write)
    for scale, role in ((0.0, "task"), (1.0, "reference_target")):
        layer_swap(**two(inputs), scale=scale, output=tmp_path / f"swapped-{role}")
        wanted = stored_tensors(inputs[role])
        for name, value in stored_tensors(tmp_path / f"swapped-{role}").items():
            np.testing.assert_array_equal(value, wanted[name])


@pytest.mark.parametrize("scale", [-0.1, 1.1, float("nan")])
def test_a_share_of_layers_is_between_0_and_1(tmp_path, scale):
    with pytest.raises(InputError, match="layer swap"):
        layer_swap(**two(three(tmp_path)), scale=scale, output=tmp_path / "out")


def test_a_factor_that_is_not_finite_is_refused(tmp_path):
    inputs = three(tmp_path)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError):
            add(**two(inputs), scale=bad, output=tmp_path / "out")
        with pytest.raises(InputError):
            arimerge(**inputs, c0=bad, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_head_of_the_task_is_kept(tmp_path):
    """A config that promises a head must come with it."""
    inputs = three(tmp_path, write_lora, modules_to_save=["score"])
    head = "base_model.model.score.weight"
    edit_tensors(inputs["task"], {head: np.ones((3, 8), np.float32)})
    add(**two(inputs), scale=1.0, output=tmp_path / "add")
    arimerge(**inputs, c0=0.0, output=tmp_path / "arimerge")
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
    arimerge(**inputs, c0=0.7, output=tmp_path / "three")
    for name, formula in (
        ("one", "W = 1 task + 0.7 reference_target"),
        ("three", "A = (1 - t) A_T + t (A_Rt + A_Rs)"),
    ):
        manifest = json.loads((tmp_path / name / "merge_manifest.json").read_text())
        assert formula in manifest["formula"]
        assert manifest["formula"] in (tmp_path / name / "README.md").read_text()
