"""What a merge leaves on disk: the same bytes each time, a full account, nothing on an error."""

import hashlib
import json
import math

import numpy as np
import pytest

from adamergex import merge
from adamergex.errors import InputError
from tests.support.folders import (
    LORA,
    PREFIX,
    edit_tensors,
    lora_tensors,
    snapshot,
    three,
    write_adapter,
    write_ia3,
    write_lora,
    write_prefix,
)

WRITERS = {"lora": write_lora, "ia3": write_ia3, "prefix": write_prefix}
A = f"{PREFIX}.1.self_attn.v_proj.lora_A.weight"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_merging_twice_gives_the_same_bytes(tmp_path, write):
    inputs = three(tmp_path / "in", write)
    for name in ("one", "two"):
        merge(**inputs, scale=0.7).save(tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    assert set(snapshot(tmp_path / "one")) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "merge_manifest.json",
    }


def test_saving_twice_gives_the_same_bytes(tmp_path):
    merged = merge(**three(tmp_path / "in"), rank=3)
    outcomes = {merged.save(tmp_path / name) for name in ("one", "two")}
    assert len(outcomes) == 1
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_inputs_are_left_alone(tmp_path, write):
    inputs = three(tmp_path / "in", write)
    before = snapshot(tmp_path / "in")
    merge(**inputs).save(tmp_path / "out")
    assert snapshot(tmp_path / "in") == before


def test_the_manifest_accounts_for_the_inputs(tmp_path):
    inputs = three(tmp_path)
    merge(**inputs, scale=0.7, rank=3).save(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert manifest["scale"] == 0.7
    assert (manifest["structure"], manifest["space"], manifest["rank"]) == ("LORA", "weight", 3)
    assert manifest["servable"]
    assert manifest["formula"] in (tmp_path / "out" / "README.md").read_text()
    assert 0 < manifest["relative_error"] < manifest["worst_module_error"] < 1
    assert set(manifest["versions"]) == {"adamergex", "numpy", "safetensors"}
    for role, folder in inputs.items():
        entry = manifest["inputs"][role]
        assert entry["name"] == folder.name
        for kind, name in (
            ("config", "adapter_config.json"),
            ("weights", "adapter_model.safetensors"),
        ):
            assert entry["sha256"][kind] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    # A published adapter should not tell where on this machine it was made.
    assert not any(str(tmp_path).encode() in x for x in snapshot(tmp_path / "out").values())


@pytest.mark.parametrize(
    ("write", "options", "formula"),
    [
        (write_lora, {}, "W_T + t (W_Rt - W_Rs)"),
        (write_lora, {"space": "factor"}, "A_T + t (A_Rt - A_Rs)"),
        (write_ia3, {}, "l_T (t (l_Rt / l_Rs - 1) + 1)"),
        (write_ia3, {"ia3": "geometric"}, "l_T (l_Rt / l_Rs)^t"),
        (write_prefix, {}, "P_T + t (P_Rt - P_Rs) pinv(P_Rs) P_T"),
    ],
    ids=["weight", "factor", "ia3", "ia3 geometric", "prefix"],
)
def test_the_card_has_the_formula_that_was_computed(tmp_path, write, options, formula):
    merged = merge(**three(tmp_path / "in", write), **options)
    merged.save(tmp_path / "out")
    assert formula in merged.summary["formula"]
    assert merged.summary["formula"] in (tmp_path / "out" / "README.md").read_text()
    assert merged.summary["servable"] == (write is write_lora)


def test_overwrite_replaces_the_old_result(tmp_path):
    inputs = three(tmp_path / "in")
    merge(**inputs, scale=0.5).save(tmp_path / "out")
    with pytest.raises(InputError, match="--overwrite"):
        merge(**inputs, scale=0.7).save(tmp_path / "out")
    merge(**inputs, scale=0.7).save(tmp_path / "out", overwrite=True)
    merge(**inputs, scale=0.7).save(tmp_path / "new")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out", "new"}


def test_an_input_cannot_be_overwritten(tmp_path):
    inputs = three(tmp_path)
    before = snapshot(tmp_path)
    for folder in inputs.values():
        with pytest.raises(InputError, match="another folder"):
            merge(**inputs).save(folder, overwrite=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("role", ["task", "reference_target", "reference_source"])
@pytest.mark.parametrize("options", [{}, {"space": "factor"}, {"rank": 2}, {"scale": 0.0}], ids=str)
def test_a_bad_tensor_is_named_and_nothing_is_written(tmp_path, bad, role, options):
    inputs = three(tmp_path)
    value = lora_tensors(0)[A]
    value[0, 0] = bad
    edit_tensors(inputs[role], {A: value})
    check_refused(tmp_path, inputs, inputs[role], A, **options)


def check_refused(tmp_path, inputs, folder, tensor, **options):
    """The message names file and tensor; neither a new folder nor an old one is touched."""
    write_lora(tmp_path / "old")
    before = snapshot(tmp_path)
    for output in ("new", "old"):
        with pytest.raises(InputError) as caught:
            merge(**inputs, **options).save(tmp_path / output, overwrite=True)
        assert str(folder / "adapter_model.safetensors") in str(caught.value)
        assert tensor in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_bad_head_is_named_and_nothing_is_written(tmp_path):
    """A head is copied, not computed with, and yet looked at."""
    head = "base_model.model.score.weight"
    inputs = three(tmp_path, write_lora, modules_to_save=["score"])
    edit_tensors(inputs["task"], {head: np.array([[1.0, np.nan]], np.float32)})
    check_refused(tmp_path, inputs, inputs["task"], head)


@pytest.mark.parametrize("write", [write_ia3, write_prefix])
def test_a_bad_vector_or_prefix_is_named_and_nothing_is_written(tmp_path, write):
    inputs = three(tmp_path, write)
    folder = inputs["reference_source"]
    ia3 = write is write_ia3
    name = f"{PREFIX}.1.self_attn.k_proj.ia3_l" if ia3 else "prompt_embeddings"
    value = np.ones((8, 1) if ia3 else (3, 32), np.float32)
    value[1, 0] = np.inf
    edit_tensors(folder, {name: value})
    check_refused(tmp_path, inputs, folder, name)


def test_a_head_is_copied_bit_by_bit_in_its_own_dtype(tmp_path):
    from safetensors.numpy import load_file

    head = "base_model.model.score.weight"
    inputs = three(tmp_path, write_lora, modules_to_save=["score"])
    value = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float16)
    tensors = {**lora_tensors(0), head: value}
    write_adapter(inputs["task"], {**LORA, "modules_to_save": ["score"]}, tensors)
    merge(**inputs, dtype="bfloat16").save(tmp_path / "out")
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")[head]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, value)


def test_one_tensor_stream_equals_the_written_file(tmp_path):
    """The tensors that a merge yields in memory are those that it writes."""
    from tests.support.folders import stored_tensors

    merged = merge(**three(tmp_path), scale=0.7)
    merged.save(tmp_path / "out")
    stored = stored_tensors(tmp_path / "out", np.float32)
    streamed = dict(merged.tensors())
    assert streamed.keys() == stored.keys() == merged.tensor_infos.keys()
    for name, value in streamed.items():
        assert merged.tensor_infos[name].shape == value.shape
        np.testing.assert_array_equal(value, stored[name])
    size = sum(x.nbytes for x in stored.values())
    assert merged.summary["bytes"] == size
