"""Smaller ranks: the error reported is the error there is. Stored types: lossless or wider."""

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from adamergex import merge
from adamergex.errors import InputError
from tests.support.folders import LORA as CONFIG
from tests.support.folders import PREFIX, dense_updates, three, write_adapter, write_ia3, write_lora

SCALE = 0.7


def exact(inputs, scale):
    t, rt, rs = (dense_updates(folder) for folder in inputs.values())
    return {name: t[name] + scale * (rt[name] - rs[name]) for name in t}


def uneven(folder):
    """Three adapters of rank 3 whose modules lose differently much at rank 4."""
    inputs = {}
    for seed, role in enumerate(("task", "reference_target", "reference_source")):
        rng = np.random.default_rng(seed)
        tensors = {}
        for i, module in enumerate(("q_proj", "k_proj", "v_proj")):
            # Singular values that fall off faster from module to module.
            b = rng.normal(size=(12, 3)) * np.array([1.0, 1 / (i + 1), 1 / (i + 1) ** 2])
            tensors[f"{PREFIX}.0.self_attn.{module}.lora_B.weight"] = b.astype(np.float32)
            a = rng.normal(size=(3, 10)).astype(np.float32)
            tensors[f"{PREFIX}.0.self_attn.{module}.lora_A.weight"] = a
        inputs[role] = write_adapter(folder / role, {**CONFIG, "r": 3}, tensors)
    return inputs


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_the_reported_error_is_the_optimum(tmp_path, rank):
    inputs = uneven(tmp_path)
    merged = merge(**inputs, scale=SCALE, rank=rank)
    outcome = merged.save(tmp_path / "out")
    lost, norm, own = 0.0, 0.0, {}
    for module, dense in exact(inputs, SCALE).items():
        values = np.linalg.svd(dense, compute_uv=False)
        cut, whole = float((values[rank:] ** 2).sum()), float((values**2).sum())
        lost, norm, own[module] = lost + cut, norm + whole, math.sqrt(cut / whole)
    worst = max(own, key=own.get)
    assert outcome.error == pytest.approx(math.sqrt(lost / norm), rel=1e-4)
    assert outcome.worst_module == f"base_model.model.{worst}"
    assert outcome.worst_error == pytest.approx(own[worst], rel=1e-4)
    assert merged.summary["rank"] == rank


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_the_written_adapter_is_that_approximation(tmp_path, rank):
    inputs = uneven(tmp_path)
    merge(**inputs, scale=SCALE, rank=rank).save(tmp_path / "out")
    found = dense_updates(tmp_path / "out")
    for module, dense in exact(inputs, SCALE).items():
        u, s, vt = np.linalg.svd(dense)
        nearest = (u[:, :rank] * s[:rank]) @ vt[:rank]
        np.testing.assert_allclose(found[module], nearest, rtol=1e-4, atol=1e-5)


def test_a_rank_beyond_the_exact_one_is_the_exact_one(tmp_path):
    inputs = three(tmp_path)
    merged = merge(**inputs, scale=SCALE, rank=99)
    outcome = merged.save(tmp_path / "out")
    assert merged.summary["rank"] == 6
    assert outcome.error < 1e-6
    found = dense_updates(tmp_path / "out")
    for module, dense in exact(inputs, SCALE).items():
        np.testing.assert_allclose(found[module], dense, atol=1e-5)


def test_exact_rank_is_the_sum_of_the_ranks_and_loses_nothing(tmp_path):
    inputs = {
        role: write_lora(tmp_path / role, seed, r=r)
        for seed, (role, r) in enumerate(
            {"task": 2, "reference_target": 3, "reference_source": 4}.items()
        )
    }
    merged = merge(**inputs, scale=SCALE)
    outcome = merged.save(tmp_path / "out")
    assert merged.summary["rank"] == 9
    assert (outcome.error, outcome.worst_module, outcome.worst_error) == (0.0, None, 0.0)
    # At scale 0 nothing dead is stored.
    assert merge(**inputs, scale=0.0).summary["rank"] == 2


def stored_dtypes(folder):
    return {x.dtype.name for x in load_file(folder / "adapter_model.safetensors").values()}


def in_dtype(folder, dtype, **config):
    return three(folder, write_lora, dtype=dtype, **config)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("alpha", "scale"), [(2, 1.0), (2, -1.0), (2, 0.0)])
def test_half_precision_stays_where_nothing_is_rounded(tmp_path, dtype, alpha, scale):
    inputs = in_dtype(tmp_path, dtype, lora_alpha=alpha)
    merge(**inputs, scale=scale).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {np.dtype(dtype).name}
    check_lossless(inputs, tmp_path / "out", scale)


@pytest.mark.parametrize(("alpha", "scale"), [(4, 0.5), (1, 2.0), (8, -0.25)])
def test_bfloat16_stays_under_powers_of_two(tmp_path, alpha, scale):
    inputs = in_dtype(tmp_path, ml_dtypes.bfloat16, lora_alpha=alpha)
    merge(**inputs, scale=scale).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {"bfloat16"}
    check_lossless(inputs, tmp_path / "out", scale)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("alpha", "scale"), [(4, 0.75), (3, 1.0), (3, 0.0)])
def test_half_precision_is_widened_where_it_would_be_rounded(tmp_path, dtype, alpha, scale):
    inputs = in_dtype(tmp_path, dtype, lora_alpha=alpha)
    merge(**inputs, scale=scale).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {"float32"}
    check_lossless(inputs, tmp_path / "out", scale)


def check_lossless(inputs, output, scale):
    """Not close but equal: float64 holds these products and their sums without rounding."""
    found = dense_updates(output)
    for module, dense in exact(inputs, scale).items():
        np.testing.assert_array_equal(found[module], dense)


def test_auto_loses_nothing_of_the_smallest_float16_numbers(tmp_path):
    """Halving a subnormal number rounds it away: a power of two is not always harmless."""
    inputs = in_dtype(tmp_path, np.float16, lora_alpha=1)
    for folder in inputs.values():
        tensors = load_file(folder / "adapter_model.safetensors")
        tiny = np.float16(2.0**-24)
        for name, x in tensors.items():
            tensors[name] = np.sign(x) * tiny if "lora_B" in name else x
        write_adapter(folder, {**CONFIG, "lora_alpha": 1}, tensors)
    merge(**inputs).save(tmp_path / "out")
    check_lossless(inputs, tmp_path / "out", 1.0)


def test_trained_biases_keep_their_own_precision(tmp_path):
    """Factors in bfloat16 are no reason to round a bias of the base model that is in float32."""
    inputs, name = (
        in_dtype(tmp_path, ml_dtypes.bfloat16, bias="all"),
        f"{PREFIX}.0.mlp.up_proj.bias",
    )
    biases = []
    for seed, folder in enumerate(inputs.values()):
        biases.append(np.random.default_rng(seed).normal(size=8).astype(np.float32))
        tensors = load_file(folder / "adapter_model.safetensors")
        write_adapter(folder, {**CONFIG, "bias": "all"}, {**tensors, name: biases[-1]})
    merge(**inputs).save(tmp_path / "out")
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")[name]
    t, rt, rs = biases
    np.testing.assert_allclose(found.astype(np.float32), t + rt - rs, rtol=1e-6, atol=1e-6)


def test_auto_takes_the_widest_input(tmp_path):
    inputs = in_dtype(tmp_path, np.float16, lora_alpha=2)
    write_lora(inputs["reference_target"], 1, dtype=ml_dtypes.bfloat16, lora_alpha=2)
    merge(**inputs).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {"float32"}
    write_lora(inputs["reference_source"], 2, dtype=np.float64, lora_alpha=2)
    merge(**inputs).save(tmp_path / "wide")
    assert stored_dtypes(tmp_path / "wide") == {"float64"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_a_dtype_that_was_asked_for(tmp_path, dtype):
    inputs = three(tmp_path)
    merge(**inputs, scale=SCALE, dtype=dtype).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {dtype}
    digits = float(torch.finfo(getattr(torch, dtype)).eps)
    found = dense_updates(tmp_path / "out")
    for module, dense in exact(inputs, SCALE).items():
        np.testing.assert_allclose(found[module], dense, atol=max(digits, 1e-7) * 50)


def test_a_value_that_float16_cannot_hold_is_an_error_and_nothing_is_written(tmp_path):
    inputs = three(tmp_path, write_lora, lora_alpha=1e6)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="float16"):
        merge(**inputs, dtype="float16").save(tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_ia3_keeps_its_dtype(tmp_path):
    merge(**three(tmp_path, write_ia3)).save(tmp_path / "out")
    assert stored_dtypes(tmp_path / "out") == {"float32"}
