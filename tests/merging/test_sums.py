"""Sums of weight updates: equal to the dense formula, without what factors have in common."""

import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamergex import merge
from adamergex.checkpoint import open_checkpoint
from adamergex.merging.sums import summed
from tests.support.folders import (
    PREFIX,
    config_of,
    dense_updates,
    edit_config,
    edit_tensors,
    stored_tensors,
    three,
    write_adapter,
    write_lora,
)

MODULES = ("q_proj", "v_proj")
OUT, IN = 5, 4


def written(folder, a, b, alpha):
    """An adapter in float64, of these factors in both modules."""
    tensors = {
        f"{PREFIX}.0.self_attn.{module}.lora_{part}.weight": (k + 1) * x
        for k, module in enumerate(MODULES)
        for part, x in (("A", a), ("B", b))
    }
    config = {"peft_type": "LORA", "r": len(a), "lora_alpha": alpha, "target_modules": [*MODULES]}
    return write_adapter(folder, config, tensors)


@st.composite
def sums(draw):
    """Adapters that draw their factors from two A and two B of each rank, and weights."""
    terms = []
    for _ in range(draw(st.integers(1, 4))):
        rank, a, b = draw(st.integers(1, 2)), draw(st.integers(0, 1)), draw(st.integers(0, 2))
        terms.append((rank, a, b, draw(st.integers(1, 4)), draw(st.sampled_from([0, 1, -1, 0.3]))))
    return terms


def factor(rank, number, part):
    """B number 2 is zero, as before any training."""
    rng = np.random.default_rng(100 * rank + 10 * number + ord(part))
    values = rng.normal(size=(rank, IN) if part == "a" else (OUT, rank))
    return values * (part == "a" or number < 2)


def least_rank(terms):
    """Of a numeric matrix with generic entries: by the rank of the sum itself."""
    total = sum(
        weight * alpha / r * factor(r, b, "b") @ factor(r, a, "a")
        for r, a, b, alpha, weight in terms
    )
    return int(np.linalg.matrix_rank(total, tol=1e-9)), total


@settings(max_examples=60, deadline=None)
@given(sums())
def test_the_sum_is_the_dense_formula(tmp_path_factory, terms):
    folder = tmp_path_factory.mktemp("sum")
    opened = [
        (open_checkpoint(written(folder / str(i), factor(r, a, "a"), factor(r, b, "b"), alpha)), w)
        for i, (r, a, b, alpha, w) in enumerate(terms)
    ]
    found = summed(opened)
    rank, wanted = least_rank(terms)
    ways = Counter((r, a, b) for r, a, b, _, w in terms if w and b < 2)
    for k, module in enumerate(found.checkpoints[0].layout.modules):
        np.testing.assert_allclose(
            found.product(module).dense(), (k + 1) ** 2 * wanted, rtol=0, atol=1e-12
        )
        assert rank <= found.rank(module) <= sum(r for r, _, _ in ways)
    if len({r for r, _, _ in ways}) == 1 and len({a for _, a, _ in ways}) == 1:
        # One A in common: its rank is enough, whatever the B.
        assert found.largest_rank <= max(1, next(iter(ways))[0])


def of_task(tmp_path, r_t=2, r_rt=3):
    """T, Rt, and T once more for Rs, in a file of its own."""
    inputs = three(tmp_path)
    write_lora(inputs["task"], 0, r=r_t)
    write_lora(inputs["reference_target"], 1, r=r_rt, lora_alpha=6)
    shutil.rmtree(inputs["reference_source"])
    tensors = dict(reversed(stored_tensors(inputs["task"], np.float32).items()))
    write_adapter(inputs["reference_source"], config_of(inputs["task"]), tensors)
    return inputs


@pytest.mark.parametrize(("t", "rank"), [(0.5, 5), (1.0, 3), (0.0, 2), (-2.0, 5)])
def test_where_rs_is_t_the_rank_is_without_it(tmp_path, t, rank):
    inputs = of_task(tmp_path)
    merged = merge(**inputs, scale=t)
    merged.save(tmp_path / "out")
    assert merged.summary["rank"] == config_of(tmp_path / "out")["r"] == rank
    task, target = (dense_updates(inputs[x]) for x in ("task", "reference_target"))
    for module, found in dense_updates(tmp_path / "out").items():
        wanted = (1 - t) * task[module] + t * target[module]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_rank_that_the_sum_fits_in_is_exact(tmp_path):
    inputs = of_task(tmp_path)
    merged = merge(**inputs, scale=0.5, rank=5)
    assert merged.summary["exact"]
    assert merged.save(tmp_path / "out").error == 0.0
    assert not merge(**inputs, scale=0.5, rank=4).summary["exact"]


def assert_merged(inputs, folder):
    """It is T + 0.5 (Rt - Rs), by the dense updates."""
    t, rt, rs = (dense_updates(source) for source in inputs.values())
    for module, found in dense_updates(folder).items():
        wanted = t[module] + 0.5 * (rt[module] - rs[module])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_equal_factors_of_other_scaling_are_one(tmp_path):
    """rsLoRA and another alpha change what they are multiplied by, not what they are."""
    inputs = of_task(tmp_path)
    edit_config(inputs["reference_source"], use_rslora=True, lora_alpha=1)
    merged = merge(**inputs, scale=0.5)
    merged.save(tmp_path / "out")
    assert merged.summary["rank"] == 5
    assert_merged(inputs, tmp_path / "out")


def test_one_module_that_differs_is_enough_to_keep_both(tmp_path):
    inputs = of_task(tmp_path)
    name = f"{PREFIX}.1.self_attn.v_proj.lora_A.weight"
    value = stored_tensors(inputs["reference_source"], np.float32)[name]
    value[0, 0] += 1
    edit_tensors(inputs["reference_source"], {name: value})
    merged = merge(**inputs, scale=0.5)
    merged.save(tmp_path / "out")
    assert_merged(inputs, tmp_path / "out")


def test_what_cancels_leaves_a_rank_that_peft_takes(tmp_path):
    inputs = of_task(tmp_path)
    checkpoint = open_checkpoint(inputs["task"])
    found = summed([(checkpoint, 1.0), (open_checkpoint(inputs["reference_source"]), -1.0)])
    assert found.largest_rank == 1
    assert all(found.rank(module) == 0 for module in checkpoint.layout.modules)
    assert not found.product(next(iter(checkpoint.layout.modules))).padded(1).dense().any()
