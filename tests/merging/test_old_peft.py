"""Adapters that old PEFT releases wrote, against what those releases themselves made of them.

See tests/fixtures/README.md for how both were made.
"""

from pathlib import Path

import numpy as np
import pytest

from adamergex import merge
from adamergex.errors import InputError
from tests.support.folders import ROLES, dense_updates, stored_tensors

FIXTURES = Path(__file__).parents[1] / "fixtures"
MADE = sorted(FIXTURES.glob("peft-*/*-expected.npz"))
SCALE = 0.75
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # both sides computed in float32


def of_structures(*structures):
    paths = [p for p in MADE if p.name.removesuffix("-expected.npz") in structures]
    ids = [f"{p.parent.name}-{p.name.removesuffix('-expected.npz')}" for p in paths]
    return pytest.mark.parametrize("path", paths, ids=ids)


def inputs(path):
    structure = path.name.removesuffix("-expected.npz")
    roles = {"task": "task", "reference_target": "reference-target"}
    roles["reference_source"] = "reference-source"
    return {key: path.parent / f"{structure}-{role}" for key, role in roles.items()}


def saved(path, output, **options):
    merge(**inputs(path), allow_pickle=True, **options).save(output)
    return output


def expected(path, kind):
    """Name -> (T, Rt, Rs) of every fact of one kind, in float64."""
    with np.load(path) as facts:
        names = [k.split("/", 2)[2] for k in facts if k.startswith(f"task/{kind}/")]
        return {
            name: [facts[f"{role}/{kind}/{name}"].astype(np.float64) for role in ROLES]
            for name in names
        }


def multiplied(t, rt, rs):
    return t * (SCALE * (rt / rs - 1) + 1)


def test_every_version_and_structure_is_there():
    versions = {p.parent.name for p in MADE}
    assert versions == {f"peft-{v}" for v in ("0.4.0", "0.6.2", "0.10.0", "0.13.2", "0.17.1")}
    assert len(MADE) == 3 + 4 + 6 + 6 + 6


@of_structures("lora", "pattern", "rslora", "dora")
def test_weight_space_is_the_sum_of_the_old_updates(path, tmp_path):
    found = dense_updates(saved(path, tmp_path / "out", scale=SCALE))
    wanted = expected(path, "delta")
    assert found.keys() == wanted.keys()
    for module, (t, rt, rs) in wanted.items():
        np.testing.assert_allclose(found[module], t + SCALE * (rt - rs), **TOLERANCE)


@of_structures("lora", "pattern", "rslora", "dora")
def test_scale_zero_in_factor_space_is_the_old_task_update(path, tmp_path):
    found = dense_updates(saved(path, tmp_path / "out", scale=0.0, space="factor"))
    for module, (t, _, _) in expected(path, "delta").items():
        np.testing.assert_allclose(found[module], t, **TOLERANCE)


@of_structures("dora")
def test_magnitudes_are_multiplied(path, tmp_path):
    tensors = stored_tensors(saved(path, tmp_path / "out", scale=SCALE))
    for module, (t, rt, rs) in expected(path, "magnitude").items():
        found = tensors[f"base_model.model.{module}.lora_magnitude_vector"]
        np.testing.assert_allclose(found, multiplied(t, rt, rs), **TOLERANCE)


@of_structures("ia3")
def test_ia3_multiplies_the_old_merged_weights(path, tmp_path):
    """W l_T (t (W l_Rt / W l_Rs - 1) + 1) is W times the merged vector, element by element."""
    tensors = stored_tensors(saved(path, tmp_path / "out", scale=SCALE))
    task = stored_tensors(inputs(path)["task"])
    for module, (t, rt, rs) in expected(path, "weight").items():
        name = f"base_model.model.{module}.ia3_l"
        base = t / task[name]
        np.testing.assert_allclose(base * tensors[name], multiplied(t, rt, rs), **TOLERANCE)


@of_structures("prefix")
def test_prefixes_follow_the_formula_on_the_old_keys_and_values(path, tmp_path):
    stored = stored_tensors(saved(path, tmp_path / "out", scale=SCALE))["prompt_embeddings"]
    # PEFT's view: tokens, then for each layer its keys and its values.
    blocks = stored.reshape(stored.shape[0], 2, 2, -1)
    for i, kind in enumerate(("key", "value")):
        for layer, (t, rt, rs) in expected(path, kind).items():
            eye = np.eye(len(t))
            wanted = (SCALE * (rt @ np.linalg.pinv(rs) - eye) + eye) @ t
            np.testing.assert_allclose(blocks[:, int(layer), i], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("version", ["0.4.0", "0.6.2"])
def test_their_pickles_need_permission(version, tmp_path):
    path = FIXTURES / f"peft-{version}" / "lora-expected.npz"
    with pytest.raises(InputError, match="allow-pickle"):
        merge(**inputs(path)).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
