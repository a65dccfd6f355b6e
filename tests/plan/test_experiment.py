"""A recipe as steps: how many, from what, and what can never reach what."""

from collections import Counter
from dataclasses import fields, replace

import pytest

from adamergex.methods import METHODS, Workshop
from adamergex.plan import planned
from adamergex.recipe import DEMO
from adamergex.step import Step, in_order

MERGES = {
    "demo": DEMO.merges,
    "one": (("translation", "weight"),),
    "published first": (("causal-lm", "factor"), ("translation", "weight")),
}
TARGETS = {"one target": ("fa",), "two": ("fa", "tr"), "four": ("ar", "de", "id", "zh")}

every_merges = pytest.mark.parametrize("merges", MERGES.values(), ids=MERGES)
every_targets = pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)


def steps(last, kind=None):
    return [step for step in in_order([last]) if kind in (None, step.kind)]


def splits(value):
    """Every `split` that stands anywhere in a config."""
    if isinstance(value, dict):
        own = {value["split"]} if "split" in value else set()
        return own.union(*map(splits, value.values()))
    return set().union(*map(splits, value)) if isinstance(value, list | tuple) else set()


def seen_by(step):
    """Every split that a step or anything below it reads."""
    return set().union(*(splits(dict(s.config)) for s in in_order([step])))


@every_merges
@every_targets
def test_how_many_adapters_are_trained(merges, targets):
    """T, each reference in each language, and for each target an oracle and a projection."""
    recipe = replace(DEMO, targets=targets, merges=merges)
    references, n = len({name for name, _ in merges}), len(targets)
    trained = steps(planned(recipe), "train")
    assert len(trained) == 1 + references * (1 + n) + n + n
    tasks = Counter(step.config["data"]["task"] for step in trained)
    assert tasks["emoji"] == 1 + 2 * n
    assert len([step for step in trained if "labels" in step.inputs]) == n


@every_merges
@every_targets
def test_how_many_merges_are_made(merges, targets):
    kinds = Counter(s.kind for s in steps(planned(replace(DEMO, merges=merges, targets=targets))))
    cells = len(targets) * len(DEMO.scales)
    assert kinds["merge"] == cells * len(merges)
    assert kinds["arimerge"] == kinds["add"] == cells
    assert kinds["select"] == len(targets) * (len(merges) + 3)  # AriMerge, T + t Rt, the headline
    assert kinds["model"] == kinds["vocabulary"] == kinds["results"] == 1


@every_merges
def test_no_choice_depends_on_test_data(merges):
    choices = steps(planned(replace(DEMO, merges=merges)), "select")
    assert choices
    for choice in choices:
        assert seen_by(choice) == {"train", "reference", "dev"}


def test_that_check_would_find_a_leak():
    shop = Workshop(DEMO)
    leaks = [
        {"dev.0": shop.scored(shop.task_adapter("en"), "fa", "test")},
        {"adapter.0": Step("merge", {}, {"task": shop.trained(shop.task_data("fa", "test"), "")})},
        {"x": Step("vocabulary", {"data": [dict(shop.task_data("en", "test"))]})},
    ]
    for inputs in leaks:
        assert "test" in seen_by(Step("select", {}, inputs))


def test_no_adapter_is_trained_on_data_it_is_measured_on():
    for step in steps(planned(DEMO), "train"):
        assert not seen_by(step) & {"dev", "test"}


def test_only_the_oracle_sees_labels_of_the_target_language():
    last = planned(DEMO)
    oracles = {Workshop(DEMO).task_adapter(target) for target in DEMO.targets}
    for number, row in enumerate(last.config["rows"]):
        below = set(in_order([last.inputs[f"test.{number}"]]))
        assert bool(below & oracles) == (row["method"] == "target-ft"), row
        languages = {
            s.config["data"]["language"]
            for s in below
            if s.kind == "train"
            and s.config["data"]["task"] == "emoji"
            and "labels" not in s.inputs
        }
        assert languages <= {row["target"] if row["method"] == "target-ft" else "en"}


def test_every_choice_has_the_task_adapter_in_the_running():
    for choice in steps(planned(DEMO), "select"):
        zero = choice.config["scales"].index(0)
        assert choice.inputs[f"adapter.{zero}"] == Workshop(DEMO).task_adapter("en")


@every_merges
def test_how_many_settings_a_row_chooses_among(merges):
    """The headline chooses among all those of AdaMergeX's rows, every other row among its own."""
    last = planned(replace(DEMO, merges=merges))
    for number, row in enumerate(last.config["rows"]):
        if choice := last.inputs.get(f"select.{number}"):
            ways = len(merges) if row["headline"] else 1
            assert len(choice.config["scales"]) == 1 + ways * len(DEMO.scales)
            assert len(set(choice.config["labels"])) == len(choice.config["labels"])


def test_the_headline_costs_no_dev_score_of_its_own():
    last = planned(DEMO)
    rows = last.config["rows"]
    for number, row in enumerate(rows):
        if row["headline"]:
            ours, others = (
                {
                    step
                    for i in numbers
                    for role, step in last.inputs[f"select.{i}"].inputs.items()
                    if role.startswith("dev.")
                }
                for numbers in (
                    [number],
                    [
                        i
                        for i, other in enumerate(rows)
                        if (other["target"], other["method"]) == (row["target"], "adamergex")
                        and not other["headline"]
                    ],
                )
            )
            assert ours == others


def test_each_dev_score_is_of_the_candidate_beside_it():
    for choice in steps(planned(DEMO), "select"):
        targets = set()
        for i in range(len(choice.config["scales"])):
            dev = choice.inputs[f"dev.{i}"]
            assert dev.inputs["adapter"] == choice.inputs[f"adapter.{i}"]
            assert dev.config["data"]["split"] == "dev"
            targets.add(dev.config["data"]["language"])
        assert len(targets) == 1


def baseline_of(last, row):
    """The number of the row of T itself in the same target language."""
    (number,) = (
        i
        for i, other in enumerate(last.config["rows"])
        if (other["target"], other["method"]) == (row["target"], "source-ft")
    )
    return number


def test_every_row_is_measured_on_the_test_items_of_its_target():
    last = planned(DEMO)
    for number, row in enumerate(last.config["rows"]):
        test = last.inputs[f"test.{number}"]
        assert test.config["data"] == Workshop(DEMO).task_data(row["target"], "test")
        if choice := last.inputs.get(f"select.{number}"):
            assert test.inputs["adapter"] == choice
            assert test.inputs["unchanged"] == last.inputs[f"test.{baseline_of(last, row)}"]


def test_every_method_has_a_row_for_every_target():
    rows = planned(DEMO).config["rows"]
    for target in DEMO.targets:
        assert {r["method"] for r in rows if r["target"] == target} == set(METHODS)
        (headline,) = (r for r in rows if r["target"] == target and r["headline"])
        assert headline["method"] == "adamergex"
        assert len([r for r in rows if (r["target"], r["method"]) == (target, "adamergex")]) == (
            len(DEMO.merges) + 1
        )


def test_all_adapters_of_an_experiment_start_from_one_point():
    """T, Rs and Rt with one seed, one adapter config, one model and one vocabulary."""
    shared = {
        (s.config["seed"], str(s.config["adapter"]), s.config["model"], s.inputs["vocabulary"])
        for s in steps(planned(DEMO), "train")
    }
    assert len(shared) == 1


def test_a_merge_takes_t_rt_and_rs_where_they_belong():
    shop = Workshop(DEMO)
    for step in steps(planned(DEMO), "merge"):
        target = step.inputs["reference_target"].config["data"]
        assert step.inputs["task"] == shop.task_adapter("en")
        assert target["language"] in DEMO.targets
        assert step.inputs["reference_source"] == shop.reference(target["task"], "en")


def test_the_training_of_a_reference_is_its_own():
    for step in steps(planned(DEMO), "train"):
        own = DEMO.reference_training.get(step.config["data"]["task"], {})
        assert step.config["training"] == {**DEMO.training, **own}


def test_the_same_recipe_gives_the_same_plan():
    assert planned(DEMO) == planned(replace(DEMO))
    one, other = (
        [(s.fingerprint, s.label) for s in in_order([planned(recipe)])]
        for recipe in (DEMO, replace(DEMO))
    )
    assert one == other


def test_the_order_of_the_targets_trains_nothing_anew():
    """Nor does that of the ways to merge: finished steps of the other order are used again."""
    recipes = [
        replace(DEMO, targets=targets, merges=merges)
        for targets in (("fa", "tr"), ("tr", "fa"))
        for merges in (DEMO.merges, DEMO.merges[::-1])
    ]
    for kind in ("vocabulary", "train"):
        one, *others = (set(steps(planned(recipe), kind)) for recipe in recipes)
        assert all(other == one for other in others)


CHANGES = {
    "model": "other",
    "adapter": {**DEMO.adapter, "r": 4},
    "task": "other",
    "source": "de",
    "targets": ("tr", "fa"),
    "merges": DEMO.merges[:2],
    "scales": (0.25, 0.5),
    "training": {**DEMO.training, "learning_rate": 1e-4},
    "reference_training": {},
    "seed": 1,
}


def test_every_field_of_a_recipe_is_changed_below():
    assert {field.name for field in fields(DEMO)} == set(CHANGES)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_a_recipe_changes_the_last_step(field):
    assert planned(replace(DEMO, **{field: CHANGES[field]})) != planned(DEMO)
