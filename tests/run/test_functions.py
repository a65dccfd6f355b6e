"""The steps that build adapters: dense weights against each method's own formula.

The adapters are stored in float32, the formulas computed in float64.
"""

import json
from itertools import combinations

import numpy as np
import pytest

from adamergex import score
from adamergex.errors import AdamergexError, InputError
from adamergex.methods import METHODS
from adamergex.plan import planned
from adamergex.recipe import demo_recipe
from adamergex.run import Store
from adamergex.run.functions import FUNCTIONS
from adamergex.run.store import RECORD_FILE
from adamergex.step import Step, in_order
from adamergex.tasks import file_source
from tests.support.folders import config_of, dense_updates, snapshot, stored_tensors, write_lora

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
SCALE = 0.7


@pytest.fixture
def steps(tmp_path):
    """Finished steps: for each role a folder with `adapter` in it, and where its training began."""
    for seed, role in enumerate(("task", "reference_target", "reference_source", "oracle")):
        write_lora(tmp_path / role / "adapter", seed, lora_alpha=6)
        write_record(tmp_path / role, init_sha256="ab" * 32)
    return {role.name: role for role in tmp_path.iterdir()}


def write_record(folder, **record):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_text(json.dumps(record))
    return folder


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
    c1 = 1 - SCALE
    return (SCALE * t[0] + c1 * (rt[0] - rs[0])) @ (SCALE * t[1] + c1 * (rt[1] + rs[1]))


def addition(t, rt, rs):
    return t[0] @ t[1] + SCALE * rt[0] @ rt[1]


# Kind, config, which references it takes, formula.
BUILDERS = {
    "weight": ("merge", {"scale": SCALE, "space": "weight"}, 2, weight_space),
    "factor": ("merge", {"scale": SCALE, "space": "factor"}, 2, factor_space),
    "arimerge": ("arimerge", {"c0": SCALE}, 2, arimerge),
    "add": (
        "weighted",
        {"rule": "add", "weights": {"task": 1.0, "reference_target": SCALE}, "scale": SCALE},
        1,
        addition,
    ),
    "arithmetic": (
        "weighted",
        {
            "rule": "language-task-arithmetic",
            "weights": {"task": 1 - SCALE, "reference_target": SCALE, "reference_source": -SCALE},
            "scale": SCALE,
        },
        2,
        lambda t, rt, rs: (1 - SCALE) * t[0] @ t[1] + SCALE * (rt[0] @ rt[1] - rs[0] @ rs[1]),
    ),
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


@pytest.mark.parametrize(
    ("dev", "best"), [((0.5, 0.6), 1), ((0.5, 0.5), 0), ((0.6, 0.5), 0)], ids=str
)
def test_select_hands_on_the_adapter_that_dev_likes_best(steps, tmp_path, dev, best):
    inputs = {"adapter.0": steps["task"], "adapter.1": steps["oracle"]}
    for i, accuracy in enumerate(dev):
        found = {"score": accuracy, "values": [accuracy, accuracy]}
        inputs[f"dev.fa.{i}"] = write_record(tmp_path / f"dev{i}", **found)
    config = {"scales": [0.0, 0.5], "labels": ["t=0", "t=0.5"]}
    config |= {"by": "score", "languages": ["fa"]}
    (tmp_path / "out").mkdir()
    record = FUNCTIONS["select"](config, inputs, tmp_path / "out")
    assert (record["chosen"], record["setting"]) == (best, config["labels"][best])
    assert record["scale"] == config["scales"][best]
    assert [point["score"] for point in record["dev"]] == list(dev)
    wanted = snapshot(inputs[f"adapter.{best}"] / "adapter")
    assert snapshot(tmp_path / "out" / "adapter") == wanted


@pytest.mark.parametrize(("far", "best"), [((0.5, 0.4), 1), ((0.5, 0.5), 0), ((0.4, 0.5), 0)])
def test_select_by_divergence_takes_the_least(steps, tmp_path, far, best):
    inputs = {"adapter.0": steps["task"], "adapter.1": steps["oracle"]}
    for i, value in enumerate(far):
        inputs[f"dev.fa.{i}"] = write_record(tmp_path / f"dev{i}", divergence=value)
    config = {"scales": [0.0, 1.0], "labels": ["t=0", "t=1"], "by": "divergence"}
    (tmp_path / "out").mkdir()
    record = FUNCTIONS["select"]({**config, "languages": ["fa"]}, inputs, tmp_path / "out")
    assert record["chosen"] == best
    assert [point["score"] for point in record["dev"]] == [-value for value in far]


class LoadedError(Exception):
    """A model was asked for."""


@pytest.fixture
def no_model(monkeypatch):
    def refuse(*arguments, **_):
        raise LoadedError(arguments)

    monkeypatch.setattr(score, "scored", refuse)


def scored(tmp_path, scale):
    """The record of a score step behind a choice of that scale, and the record of T's own."""
    store = Store(tmp_path / "steps")
    config = {"model": "m", "data": {"rows": "task"}}
    task = Step("score", config, {"adapter": Step("train", {})}, label="score T")
    store.fill(task, lambda out: {"score": 0.5, "values": [1.0, 0.0]})
    choice = Step("select", {})
    store.fill(choice, lambda out: {"scale": scale})
    last = Step("score", config, {"adapter": choice, "unchanged": task}, label="score the choice")
    folders = {role: store.path(step) for role, step in last.inputs.items()}
    store.fill(last, lambda out: FUNCTIONS["score"](config, folders, out))
    return store.record(last), store.record(task), last


@pytest.mark.usefixtures("no_model")
def test_where_dev_left_t_alone_its_score_is_taken(tmp_path):
    """Bit for bit, also where another run would round otherwise; and nothing is run again."""
    record, own, last = scored(tmp_path, 0.0)
    identity = {"kind": "score", "label": "score the choice", "fingerprint": last.fingerprint}
    assert record == {**own, **identity}
    assert own["label"] == "score T"
    assert own["fingerprint"] != last.fingerprint


@pytest.mark.usefixtures("no_model")
def test_where_dev_chose_a_merge_it_is_scored_itself(tmp_path):
    with pytest.raises(LoadedError):
        scored(tmp_path, 0.5)


def test_geometry_is_that_of_the_dense_updates(steps, tmp_path):
    record = FUNCTIONS["geometry"]({}, steps, tmp_path)
    assert record["init_sha256"] == "ab" * 32

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


@pytest.mark.parametrize("role", ["task", "reference_target", "reference_source", "oracle"])
def test_geometry_of_different_starts_is_refused(steps, tmp_path, role):
    """A difference of two adapters would mostly be that of their initialisations."""
    write_record(steps[role], init_sha256="cd" * 32)
    with pytest.raises(AdamergexError, match="started from 2 initialisations"):
        FUNCTIONS["geometry"]({}, steps, tmp_path)


def test_geometry_without_an_oracle_has_no_alignment(steps, tmp_path):
    record = FUNCTIONS["geometry"]({}, {r: f for r, f in steps.items() if r != "oracle"}, tmp_path)
    assert record["alignment"] is None
    assert record["references"]["cosine"] is not None


def test_the_choice_is_by_the_mean_over_the_languages_asked(steps, tmp_path):
    inputs = {"adapter.0": steps["task"], "adapter.1": steps["oracle"]}
    right = {code: np.zeros((2, 10)) for code in ("fa", "tr")}
    for i, scores in enumerate(((0.5, 0.5), (0.9, 0.2))):
        for code, value in zip(right, scores, strict=True):
            right[code][i, : round(10 * value)] = 1
            found = {"score": value, "values": right[code][i].tolist()}
            inputs[f"dev.{code}.{i}"] = write_record(tmp_path / f"{code}{i}", **found)
    (tmp_path / "out").mkdir()
    config = {"scales": [0, 1], "labels": ["0", "1"], "by": "score", "languages": ["fa", "tr"]}
    record = FUNCTIONS["select"](config, inputs, tmp_path / "out")
    assert record["chosen"] == 1
    assert [point["score"] for point in record["dev"]] == pytest.approx([0.5, 0.55])
    # The languages ask the same questions: an item's mean over them is what varies.
    items = (right["fa"][1] + right["tr"][1]) / 2
    wanted = items.std(ddof=1) / len(items) ** 0.5
    assert record["dev"][1]["standard_error"] == pytest.approx(wanted)


def test_without_labels_the_choice_is_by_what_the_answers_say(steps, tmp_path):
    """Answers that are sure and varied before answers that are all the same."""
    logs = ([[0.0, -9.0], [0.0, -9.0]], [[0.0, -9.0], [-9.0, 0.0]])
    inputs = {"adapter.0": steps["task"], "adapter.1": steps["oracle"]}
    for i, found in enumerate(logs):
        inputs[f"dev.fa.{i}"] = write_record(tmp_path / f"fa{i}", log_likelihoods=found)
    (tmp_path / "out").mkdir()
    config = {"scales": [0, 1], "labels": ["0", "1"], "by": "confidence", "languages": ["fa"]}
    assert FUNCTIONS["select"](config, inputs, tmp_path / "out")["chosen"] == 1
    write_record(tmp_path / "fa1", log_likelihoods=None)
    with pytest.raises(AdamergexError, match="free text"):
        FUNCTIONS["select"](config, inputs, tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "reference", "needed"),
    [
        ("decoder", "masked-lm", "causal-lm"),
        ("decoder", "span-corruption", "causal-lm"),
        ("encoder", "causal-lm", "masked-lm"),
        ("encoder", "translation", "masked-lm"),
        ("encoder", "cloze", "masked-lm"),
        ("encoder-decoder", "causal-lm", "span-corruption"),
    ],
)
def test_a_family_learns_the_language_in_its_own_way(
    monkeypatch, tmp_path, family, reference, needed
):
    monkeypatch.setattr("adamergex.models.backbone_family", lambda name: family)
    config = {"model": "m", "data": {"rows": "reference", "reference": reference}}
    with pytest.raises(InputError, match=f"task: found {reference}; needed {needed}, for an"):
        FUNCTIONS["train"](config, {}, tmp_path)


def test_every_kind_of_a_plan_has_a_function():
    tasks = ("causal-lm", "distillation", "reading")
    references = ", ".join(f"{{task: {task}, text: emoji}}" for task in tasks)
    methods = f"methods=[{', '.join(METHODS)}]"
    plans = [
        planned(demo_recipe([methods, f"reference=[{references}]", f"scale.select={way}"]))
        for way in ("dev", "divergence")
    ]
    assert {step.kind for step in in_order(plans)} == set(FUNCTIONS)


def test_an_ensemble_is_of_the_likelihoods_that_were_scored(tmp_path):
    """Where one is sure and the other is not, the sure one decides."""
    (tmp_path / "rows.csv").write_text("text,label\nx,0\ny,1\n")
    task = {
        "task": "t", "output_type": "multiple_choice", "doc_to_text": "{{text}}",
        "doc_to_choice": ["a", "b"], "doc_to_target": "label", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    source, where = file_source("rows.csv", tmp_path)
    data = {"rows": "task", "task": task, "source": source, "max_samples": None}
    members = ([[-0.1, -9.0], [-1.0, -1.2]], [[-1.2, -1.0], [-9.0, -0.1]])
    inputs = {
        f"member.{i}": write_record(tmp_path / str(i), log_likelihoods=logs, notices=["as one"])
        for i, logs in enumerate(members)
    }
    inputs[source["file"]] = where
    record = FUNCTIONS["ensemble"]({"data": data}, inputs, tmp_path)
    assert (record["predictions"], record["score"], record["n"]) == ([0, 1], 1.0, 2)
    assert record["notices"] == ["as one"]
