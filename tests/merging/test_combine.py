"""`adamergex combine`: weighted sums of any adapters, against dense matrices in float64."""

import json
import math

import ml_dtypes
import numpy as np
import pytest

from adamergex import combine
from adamergex.cli import main
from adamergex.errors import InputError
from tests.support.folders import (
    LORA,
    PREFIX,
    config_of,
    dense_updates,
    edit_config,
    edit_tensors,
    lora_tensors,
    snapshot,
    stored_tensors,
    write_adapter,
    write_ia3,
    write_lora,
    write_prefix,
)

WEIGHTS = (1.0, 0.5, -0.5, -2.0)


def four(folder):
    """Plain LoRA, rsLoRA, ranks and alphas by pattern, and half precision."""
    plain = write_lora(folder / "plain", 0)
    root = write_lora(folder / "rs", 1, r=3, lora_alpha=5, use_rslora=True)
    tensors = lora_tensors(2, r=2)
    wide = lora_tensors(3, r=4)
    tensors |= {name: x for name, x in wide.items() if "v_proj" in name}
    config = {**LORA, "rank_pattern": {"v_proj": 4}, "alpha_pattern": {"q_proj": 7}}
    patterned = write_adapter(folder / "patterns", config, tensors)
    half = write_lora(folder / "half", 4, dtype=ml_dtypes.bfloat16, lora_alpha=3)
    return [plain, root, patterned, half]


def scalings(folder):
    """Module's last name -> scaling, by PEFT's rule, written out."""
    return {
        "plain": {"q_proj": 2.0, "v_proj": 2.0},
        "rs": {"q_proj": 5 / math.sqrt(3), "v_proj": 5 / math.sqrt(3)},
        "patterns": {"q_proj": 7 / 2, "v_proj": 4 / 4},
        "half": {"q_proj": 1.5, "v_proj": 1.5},
    }[folder.name]


def dense(folders, weights=WEIGHTS):
    total = {}
    for folder, weight in zip(folders, weights, strict=True):
        tensors = stored_tensors(folder)
        for name, a in tensors.items():
            if "lora_A" in name:
                module = name.removesuffix(".lora_A.weight").removeprefix("base_model.model.")
                s = scalings(folder)[module.rpartition(".")[2]]
                update = weight * s * tensors[name.replace("lora_A", "lora_B")] @ a
                total[module] = total.get(module, 0.0) + update
    return total


def test_the_sum_is_exact_whatever_the_scaling_and_the_sign(tmp_path):
    folders = four(tmp_path)
    made = combine(folders, WEIGHTS)
    assert made.save(tmp_path / "out").error == 0.0
    wanted = dense(folders)
    found = dense_updates(tmp_path / "out")
    assert found.keys() == wanted.keys()
    for module, update in found.items():
        np.testing.assert_allclose(update, wanted[module], rtol=0, atol=2e-5)
    config = config_of(tmp_path / "out")
    assert config["r"] == config["lora_alpha"] == 2 + 3 + 4 + 2
    assert not config["use_rslora"]
    assert not config["rank_pattern"] and not config["alpha_pattern"]


def test_at_a_rank_it_is_the_nearest(tmp_path):
    folders = four(tmp_path)
    outcome = combine(folders, WEIGHTS, rank=3).save(tmp_path / "out")
    found, lost, whole = dense_updates(tmp_path / "out"), 0.0, 0.0
    for module, update in dense(folders).items():
        values = np.linalg.svd(update, compute_uv=False)
        lost, whole = lost + (values[3:] ** 2).sum(), whole + (values**2).sum()
        u, s, vt = np.linalg.svd(update)
        np.testing.assert_allclose(found[module], (u[:, :3] * s[:3]) @ vt[:3], atol=1e-4)
    assert outcome.error == pytest.approx(math.sqrt(lost / whole), rel=1e-4)


def test_one_adapter_several_times_is_one(tmp_path):
    folder = write_lora(tmp_path / "a")
    combine([folder, folder, folder], [1.0, 0.5, -0.75]).save(tmp_path / "out")
    assert config_of(tmp_path / "out")["r"] == 2
    for module, update in dense_updates(folder).items():
        found = dense_updates(tmp_path / "out")[module]
        np.testing.assert_allclose(found, 0.75 * update, rtol=1e-6, atol=1e-6)


def test_biases_of_b_are_scaled_with_the_product(tmp_path):
    name = f"{PREFIX}.0.self_attn.q_proj.lora_B.bias"
    folders = []
    for i, alpha in enumerate((4, 6)):
        folder = write_lora(tmp_path / str(i), i, lora_alpha=alpha, lora_bias=True)
        biases = {
            key.replace("lora_B.weight", "lora_B.bias"): np.full(8, i + 1.0, np.float32)
            for key in stored_tensors(folder)
            if "lora_B" in key
        }
        folders.append(edit_tensors(folder, biases))
    combine(folders, [1.0, -0.5]).save(tmp_path / "out")
    np.testing.assert_allclose(stored_tensors(tmp_path / "out")[name], 2 * 1 - 0.5 * 3 * 2)


def test_trained_biases_of_the_base_are_values(tmp_path):
    """Their sum is one only where the base's own share adds up to 1."""
    name = f"{PREFIX}.0.mlp.up_proj.bias"
    folders = [write_lora(tmp_path / str(i), i, bias="all") for i in range(2)]
    for i, folder in enumerate(folders):
        edit_tensors(folder, {name: np.full(8, 3.0 + i, np.float32)})
    combine(folders, [1.5, -0.5]).save(tmp_path / "out")
    np.testing.assert_allclose(stored_tensors(tmp_path / "out")[name], 1.5 * 3 - 0.5 * 4)
    with pytest.raises(InputError, match=r"bias: found weights of sum 0\.5; needed"):
        combine(folders, [1.0, -0.5])


@pytest.mark.parametrize(("write", "neutral"), [(write_ia3, 1.0), (write_prefix, 0.0)])
def test_other_structures(tmp_path, write, neutral):
    folders = [write(tmp_path / str(i), i) for i in range(4)]
    combine(folders, WEIGHTS).save(tmp_path / "out")
    stored = [stored_tensors(folder) for folder in folders]
    for name, found in stored_tensors(tmp_path / "out").items():
        wanted = neutral + sum(
            w * (x[name] - neutral) for w, x in zip(WEIGHTS, stored, strict=True)
        )
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="rank: found 2; needed exact"):
        combine(folders, WEIGHTS, rank=2)


def test_dora_is_refused(tmp_path):
    folder = write_lora(tmp_path / "a")
    edit_config(folder, use_dora=True)
    stored = stored_tensors(folder)
    magnitudes = {
        name.replace("lora_A.weight", "lora_magnitude_vector"): np.ones(8, np.float32)
        for name in stored
        if "lora_A" in name
    }
    edit_tensors(folder, magnitudes)
    with pytest.raises(InputError, match="found DoRA; needed plain LoRA"):
        combine([folder, folder], [1, 1])


@pytest.mark.parametrize("weights", [[1.0], [], [1.0, float("nan")], [1.0, float("inf")]])
def test_weights_are_a_finite_number_for_each_adapter(tmp_path, weights):
    folders = [write_lora(tmp_path / str(i), i) for i in range(2)]
    with pytest.raises(InputError, match="weights"):
        combine(folders, weights)


def test_the_command(tmp_path, capsys):
    folders = [str(folder) for folder in four(tmp_path)]
    call = ["combine", *folders, "--weights", "1", "0.5", "-0.5", "-2", "--output"]
    before = snapshot(tmp_path)
    assert main([*call, str(tmp_path / "out"), "--dry-run"]) == 0
    assert snapshot(tmp_path) == before
    assert main([*call, str(tmp_path / "out"), "--base-model", "org/other"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "merged 4 modules of LORA: weighted space, rank 11, float32" in out
    assert "exact: the sum of the 4 weight updates, nothing cut off" in out
    combine(folders, WEIGHTS, base_model="org/other").save(tmp_path / "same")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "same")
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert manifest["weights"] == list(WEIGHTS)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "W = 1 adapter_1 + 0.5 adapter_2 - 0.5 adapter_3 - 2 adapter_4" in text
    assert "Made from 4 adapters, without training\n" in text
    assert main([*call[:5], "--weights", "1", "x", "--output", str(tmp_path / "bad")]) == 2


def test_adapters_must_fit_together(tmp_path, capsys):
    one, other = write_lora(tmp_path / "a"), write_lora(tmp_path / "b", size=6)
    call = ["combine", str(one), str(other), "--weights", "1", "1", "--output", str(tmp_path / "o")]
    assert main(call) == 2
    assert str(other) in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
