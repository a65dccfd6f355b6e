"""The steps that build adapters: dense weights against each method's own formula.

The adapters are stored in float32, the formulas computed in float64.
"""

import json
from itertools import combinations

import numpy as np
import pytest

from adamergex.run.functions import FUNCTIONS
from adamergex.run.store import RECORD_FILE
from tests.support.folders import config_of, dense_updates, snapshot, stored_tensors, write_lora

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
SCALE = 0.7


@pytest.fixture
def steps(tmp_path):
    """Finished steps: a folder with `adapter` in it for each role."""
    for seed, role in enumerate(("task", "reference_target", "reference_source", "oracle")):
        write_lora(tmp_path / role / "adapter", seed, lora_alpha=6)
    return {role.name: role for role in tmp_path.iterdir()}


def factors(steps, role):
    """Module -> (B, A) of an adapter, the scaling apart."""
    tensors = stored_tensors(steps[role] / "adapter")
    return {
        name.removesuffix(".lora_A.weight").removeprefix("base_model.model."): (
            tensors[name.replace("lora_A", "lora_B")],
            a,
        )
        for name, a in tensors.items()
        if name.endswith("lora_A.weight")
    }


def weight_space(t, rt, rs):
    return t[0] @ t[1] + SCALE * (rt[0] @ rt[1] - rs[0] @ rs[1])


def factor_space(t, rt, rs):
    return (t[0] + SCALE * (rt[0] - rs[0])) @ (t[1] + SCALE * (rt[1] - rs[1]))


def arimerge(t, rt, rs):
    return (t[0] + SCALE * (rt[0] - rs[0])) @ (t[1] + SCALE * (rt[1] + rs[1]))


def addition(t, rt, rs):
    return t[0] @ t[1] + SCALE * rt[0] @ rt[1]


# Kind, config, which references it takes, formula.
BUILDERS = {
    "weight": ("merge", {"scale": SCALE, "space": "weight"}, 2, weight_space),
    "factor": ("merge", {"scale": SCALE, "space": "factor"}, 2, factor_space),
    "arimerge": ("arimerge", {"c": SCALE}, 2, arimerge),
    "add": ("add", {"scale": SCALE}, 1, addition),
}


def built(steps, name, out):
    kind, config, references, _ = BUILDERS[name]
    roles = ("task", "reference_target", "reference_source")[: 1 + references]
    out.mkdir()
    record = FUNCTIONS[kind](config, {role: steps[role] for role in roles}, out)
    json.dumps(record, allow_nan=False)
    return dense_updates(out / "adapter")


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_follows_its_formula(steps, tmp_path, name):
    scaling = 6 / config_of(steps["task"] / "adapter")["r"]
    t, rt, rs = (factors(steps, r) for r in ("task", "reference_target", "reference_source"))
    for module, found in built(steps, name, tmp_path / "out").items():
        wanted = scaling * BUILDERS[name][3](t[module], rt[module], rs[module])
        np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_no_builder_stands_in_for_another(steps, tmp_path):
    made = {name: built(steps, name, tmp_path / f"out-{name}") for name in BUILDERS}
    made["task"] = dense_updates(steps["task"] / "adapter")
    for one, other in combinations(made, 2):
        assert all(
            np.abs(made[one][module] - made[other][module]).max() > 0.1 for module in made[one]
        )


def score_record(folder, accuracy):
    folder.mkdir(parents=True)
    record = {"accuracy": accuracy, "standard_error": 0.01}
    (folder / RECORD_FILE).write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("dev", "best"), [((0.5, 0.6), 1), ((0.5, 0.5), 0), ((0.6, 0.5), 0)], ids=str
)
def test_select_hands_on_the_adapter_that_dev_likes_best(steps, tmp_path, dev, best):
    inputs = {"adapter.0": steps["task"], "adapter.1": steps["oracle"]}
    inputs |= {f"dev.{i}": score_record(tmp_path / f"dev{i}", a) for i, a in enumerate(dev)}
    config = {"strengths": [0.0, 0.5], "labels": ["t=0", "t=0.5"]}
    (tmp_path / "out").mkdir()
    record = FUNCTIONS["select"](config, inputs, tmp_path / "out")
    assert (record["chosen"], record["label"]) == (best, config["labels"][best])
    assert record["strength"] == config["strengths"][best]
    assert [point["accuracy"] for point in record["dev"]] == list(dev)
    wanted = snapshot(inputs[f"adapter.{best}"] / "adapter")
    assert snapshot(tmp_path / "out" / "adapter") == wanted


def test_geometry_is_that_of_the_dense_updates(steps, tmp_path):
    record = FUNCTIONS["geometry"]({}, steps, tmp_path)

    def vector(role):
        updates = dense_updates(steps[role] / "adapter")
        return np.concatenate([updates[name].ravel() for name in sorted(updates)])

    t, rt, rs, oracle = map(vector, ("task", "reference_target", "reference_source", "oracle"))
    for name, one, other in (
        ("references", rt, rs),
        ("divergence_to_task", rt - rs, t),
        ("alignment", rt - rs, oracle - t),
    ):
        norms = np.linalg.norm(one), np.linalg.norm(other)
        assert record[name]["cosine"] == pytest.approx(one @ other / np.prod(norms), abs=1e-5)
        assert record[name]["norm_ratio"] == pytest.approx(norms[0] / norms[1], rel=1e-5)
        assert [point["layer"] for point in record[name]["by_layer"]] == [0, 1]


def test_every_kind_of_a_plan_has_a_function():
    from adamergex.plan import planned
    from adamergex.recipe import DEMO
    from adamergex.step import in_order

    assert {step.kind for step in in_order([planned(DEMO)])} == set(FUNCTIONS)
