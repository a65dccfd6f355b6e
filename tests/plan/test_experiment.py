"""A recipe as steps: how many, from what, and what can never reach what."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.methods import METHODS, Workshop
from adamergex.plan import planned
from adamergex.recipe import demo_recipe, recipe_from
from adamergex.step import Step, in_order
from adamergex.tasks import asked

ALL = f"methods=[{', '.join(METHODS)}]"
SCALES = ("{select: dev}", "{select: unlabelled}", "{select: dev, per: all}")
LANGUAGES = ("ar", "de", "fa", "id", "tr", "zh")


def steps(last, kind=None):
    return [step for step in in_order([last]) if kind in (None, step.kind)]


def sources(value):
    """Every source that stands anywhere in a config, with whether its labels are seen."""
    found = []
    if isinstance(value, dict):
        if "source" in value and isinstance(value["source"], dict):
            seen = value.get("rows") == "task" and value.get("labelled", True)
            found.append((value["source"].get("split"), value["source"].get("language"), seen))
        for inner in value.values():
            found += sources(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            found += sources(inner)
    return found


def seen_by(step):
    """What a step or anything below it reads: (split, language, whether with labels)."""
    return {each for s in in_order([step]) for each in sources(dict(s.config))}


@pytest.fixture(scope="module", params=SCALES)
def everything(request):
    changes = [ALL, f"scale={request.param}", "seed=[0, 1]"]
    changes.append("reference=[{task: causal-lm, text: emoji}, {task: self-labelled, text: emoji}]")
    return planned(demo_recipe(changes))


MERGING = "zero-shot, source-ft, arimerge, add-reference, language-task-arithmetic, layer-swapping"


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=5, unique=True),
    st.integers(1, 4),
    st.sampled_from(["full", "in-use"]),
)
def test_n_languages_and_m_tasks_train_n_plus_m_plus_1_adapters(
    tmp_path_factory, targets, tasks, vocabulary
):
    """The references are shared by the tasks; never N x M."""
    folder = tmp_path_factory.mktemp("tasks")
    names = []
    for i in range(tasks):
        config = {
            "task": f"t{i}", "dataset_path": "builtin:emoji", "dataset_name": "{language}",
            "training_split": "train", "validation_split": "dev", "test_split": "test",
            "output_type": "multiple_choice", "doc_to_text": f"{i} {{{{text}}}}",
            "doc_to_choice": ["Food"], "doc_to_target": "category",
            "metric_list": [{"metric": "acc"}],
        }  # fmt: skip
        (folder / f"t{i}.yaml").write_text(json.dumps(config))
        names.append(f"t{i}.yaml")
    recipe = {
        "model": "builtin:gemma-3-270m",
        "source": "en",
        "targets": targets,
        "tasks": names,
        "reference": {"task": "causal-lm", "text": "emoji"},
        "methods": [*MERGING.split(", "), "adamergex"],
        "training": {"vocabulary": vocabulary},
    }
    last = planned(recipe_from(json.dumps(recipe), "r", folder))
    assert len(steps(last, "train")) == len(targets) + tasks + 1
    assert len(steps(last, "train-sparse")) == 0


@settings(max_examples=6)
@given(st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=4, unique=True), st.integers(1, 3))
def test_reading_trains_one_adapter_for_each_language_and_one_for_each_task(
    tmp_path_factory, targets, tasks
):
    """Rs is what all start from, and is not trained: N + M."""
    folder = tmp_path_factory.mktemp("tasks")
    for i in range(tasks):
        (folder / f"t{i}.yaml").write_text(TASK.replace("{{text}}", f"{i} {{{{text}}}}"))
    rows = {
        "data_files": {f"t{i}": {"train": "rows.csv", "test": "rows.csv"} for i in range(tasks)}
    }
    (folder / "rows.csv").write_text(ROWS)
    recipe = {
        "model": "m", "source": "en", "targets": targets, **rows,
        "tasks": [f"t{i}.yaml" for i in range(tasks)],
        "reference": {"task": "reading", "text": "emoji"},
        "methods": ["source-ft", "adamergex"],
        "scale": {"grid": [0.5], "select": "fixed"},
    }  # fmt: skip
    last = planned(recipe_from(json.dumps(recipe), "r", folder))
    assert len(steps(last, "train")) + len(steps(last, "distil")) == len(targets) + tasks
    assert len(steps(last, "start")) == len(steps(last, "teach")) == 1
    for merge in steps(last, "merge"):
        assert merge.inputs["reference_source"].kind == "start"
        assert merge.inputs["reference_target"].inputs["start"].kind == "start"


def test_how_many_steps_the_demo_has():
    kinds = Counter(step.kind for step in steps(planned(demo_recipe())))
    targets, scales, ways = 2, 2, 2
    # T; causal LM in three languages; for each target an oracle, few-shot and a projection.
    assert kinds["train"] == 1 + 3 + 3 * targets
    assert (kinds["teach"], kinds["distil"]) == (1, targets)
    assert kinds["merge"] == targets * scales * ways
    assert kinds["arimerge"] == targets * scales
    assert kinds["select"] == targets * (ways + 2)  # AriMerge, the best of all
    assert kinds["model"] == kinds["results"] == 1


def test_an_ensemble_reads_the_answers_that_its_members_rows_have(everything):
    own = {*everything.inputs.values()}
    found = steps(everything, "ensemble")
    assert len(found) == 2 * len(everything.config["targets"])  # seeds
    for step in found:
        assert len(step.inputs) == 2
        assert own.issuperset(step.inputs.values())
        assert {member.kind for member in step.inputs.values()} == {"score"}
        assert all(m.config["data"] == step.config["data"] for m in step.inputs.values())


def test_no_choice_depends_on_test_data(everything):
    choices = steps(everything, "select")
    assert choices
    for choice in choices:
        assert {split for split, *_ in seen_by(choice)} <= {"train", "reference", "dev"}


def test_without_labels_none_of_the_target_language_is_seen():
    last = planned(
        demo_recipe(
            [ALL.replace("target-ft, target-ft-fresh, few-shot, ", ""), "scale.select=unlabelled"]
        )
    )
    for choice in steps(last, "select"):
        labelled = {each for each in seen_by(choice) if each[2]}
        assert labelled == {("train", "en", True)}
        assert choice.config["by"] == "confidence"


def test_by_divergence_t_is_chosen_on_rows_that_rt_has_not_seen():
    reference = "reference=[{task: causal-lm, text: emoji}, {task: distillation, text: emoji}]"
    changes = ["methods=[source-ft, adamergex]", "scale.select=divergence", reference]
    last = planned(demo_recipe(changes))
    choices = steps(last, "select")
    assert choices
    for choice in choices:
        assert choice.config["by"] == "divergence"
        assert {each for each in seen_by(choice) if each[2]} == {("train", "en", True)}
        for role, step in choice.inputs.items():
            if role.startswith("dev."):
                assert step.kind == "diverge"
                assert step.inputs["taught"].kind == "teach"
                assert step.config["data"]["part"] == "held"
    for step in steps(last, "distil"):
        assert step.config["data"]["part"] == "learnt"
        held, own = (
            set(asked({**step.config["data"], "part": part}, step.files).items)
            for part in ("held", "learnt")
        )
        assert (len(held), len(own)) == (30, 270)
        assert not held & own


def test_those_checks_would_find_a_leak():
    shop = Workshop(demo_recipe(), "emoji", 0)
    test = shop.catalog.rows(shop.task, "fa", "test")
    for inputs in (
        {"dev.fa.0": shop.scored(shop.task_adapter("en"), test, "")},
        {"adapter.0": Step("merge", {}, {"task": shop.trained(test, "", {})})},
        {"x": Step("vocabulary", {"data": [dict(test.config)]})},
    ):
        assert ("test", "fa", True) in seen_by(Step("select", {}, inputs))


def test_nothing_is_trained_on_what_it_is_measured_on(everything):
    for kind in ("train", "train-sparse", "distil"):
        for step in steps(everything, kind):
            dev = {"dev"} if "dev labels" in step.label else set()  # few-shot's
            assert {split for split, *_ in seen_by(step)} <= {"train", "reference"} | dev


LABELLED = ("target-ft", "target-ft-fresh", "few-shot")


def test_only_oracles_and_few_shot_train_on_labels_of_the_target_language(everything):
    (task,) = everything.config["tasks"]
    for row in task["rows"]:
        below = in_order([everything.inputs[f"test.{row['key']}"]])
        trained = [s for s in below if s.kind.startswith("train") and "labels" not in s.inputs]
        languages = {
            s.config["data"]["source"]["language"]
            for s in trained
            if s.config["data"]["rows"] == "task"
        }
        own = {row["target"]} if row["method"] in LABELLED else set()
        assert languages <= {"en"} | own, row


def test_every_choice_has_the_task_adapter_in_the_running(everything):
    trained = {seed: Workshop(demo_recipe(), "emoji", seed).task_adapter("en") for seed in (0, 1)}
    configs = {s.config["seed"] for s in trained.values()}
    assert configs == {0, 1}
    for choice in steps(everything, "select"):
        zero = choice.inputs[f"adapter.{choice.config['scales'].index(0)}"]
        assert zero.kind == "train"
        assert zero.config["data"] == trained[0].config["data"]


def test_each_dev_score_is_of_the_candidate_beside_it(everything):
    for choice in steps(everything, "select"):
        for i in range(len(choice.config["scales"])):
            for code in choice.config["languages"]:
                dev = choice.inputs[f"dev.{code}.{i}"]
                ((split, language, _),) = set(sources(dict(dev.config)))
                assert (split, language) == ("dev", code)
                own = choice.inputs[f"adapter.{i}"]
                target = own.label.endswith(f", {code}") or own.kind == "train"
                assert (dev.inputs["adapter"] == own) == target


def test_one_scale_for_all_is_chosen_from_the_same_scores_everywhere():
    last = planned(demo_recipe([ALL, "scale.per=all"]))
    (task,) = last.config["tasks"]
    choices = {}
    for row in task["rows"]:
        if choice := last.inputs.get(f"select.{row['key']}"):
            dev = {k: s for k, s in choice.inputs.items() if k.startswith("dev.")}
            choices.setdefault((row["method"], row["variant"]), []).append((choice, dev))
    assert choices
    for (one, dev), (other, same) in choices.values():
        assert dev == same
        assert one != other  # each hands on its own language's adapter


def test_every_row_is_measured_on_the_test_items_of_its_target(everything):
    (task,) = everything.config["tasks"]
    for row in task["rows"]:
        test = everything.inputs[f"test.{row['key']}"]
        assert sources(dict(test.config)) == [("test", row["target"], True)]
        if choice := everything.inputs.get(f"select.{row['key']}"):
            assert test.inputs["adapter"] == choice
            unchanged = test.inputs["unchanged"]
            assert unchanged.config["data"] == test.config["data"]
            zero = choice.config["scales"].index(0)
            assert unchanged.inputs["adapter"] == choice.inputs[f"adapter.{zero}"]


def test_every_method_has_a_row_for_every_target_and_seed(everything):
    (task,) = everything.config["tasks"]
    for target in ("fa", "tr"):
        for seed in (0, 1):
            rows = [r for r in task["rows"] if (r["target"], r["seed"]) == (target, seed)]
            assert {r["method"] for r in rows} == set(METHODS)
            (headline,) = (r for r in rows if r["headline"])
            assert headline["method"] == "adamergex"


def test_the_base_model_is_asked_once_for_all_seeds(everything):
    (task,) = everything.config["tasks"]
    for method in ("zero-shot", "xlt"):
        rows = [r for r in task["rows"] if (r["method"], r["target"]) == (method, "fa")]
        assert len({everything.inputs[f"test.{r['key']}"] for r in rows}) == 1


def test_all_adapters_of_a_seed_start_from_one_point():
    """T, Rs and Rt with one seed, one adapter config, one model and one vocabulary."""
    shared = {
        (s.config["seed"], str(s.config["adapter"]), s.config["model"], s.config["vocabulary"])
        for s in steps(planned(demo_recipe()), "train")
    }
    assert len(shared) == 1


def test_geometry_has_an_oracle_only_where_one_is_trained():
    for methods, oracle in (("adamergex", False), ("target-ft, adamergex", True)):
        last = planned(demo_recipe([f"methods=[source-ft, {methods}]"]))
        found = steps(last, "geometry")
        assert len(found) == 4
        assert all(("oracle" in step.inputs) == oracle for step in found)
        for step in found if oracle else ():
            trained = {s for s in steps(last, "train") if "start" in s.inputs}
            assert step.inputs["oracle"] in trained
            assert step.inputs["oracle"].inputs["start"] == step.inputs["task"]
    assert not steps(planned(demo_recipe(["methods=[source-ft, arimerge]"])), "geometry")


def test_the_same_recipe_gives_the_same_plan():
    one, other = ([s.fingerprint for s in in_order([planned(demo_recipe())])] for _ in range(2))
    assert one == other


def test_the_order_of_the_targets_trains_nothing_anew():
    for kind in ("train",):
        one, other = (
            set(steps(planned(demo_recipe([f"targets={targets}"])), kind))
            for targets in ("[fa, tr]", "[tr, fa]")
        )
        assert one == other


ROWS = "text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(9))
TASK = """
task: t_{language}
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: [a, b]
doc_to_target: label
metric_list: [{metric: acc}]
"""


SPLITS = {"train": "{language}.csv", "dev": "{language}.csv[:4]", "test": "{language}.csv[4:]"}


def local_recipe(folder, *, text="a line\n", rows=ROWS, splits=SPLITS, **changes):
    """A recipe on files of its own, in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "t.yaml").write_text(TASK)
    for code in ("en", "sw"):
        (folder / f"{code}.csv").write_text(rows)
        (folder / f"{code}.txt").write_text(f"{code} {text}")
    recipe = {
        "model": "m",
        "source": "en",
        "targets": ["sw"],
        "tasks": ["t.yaml"],
        "data_files": {"t": {name: SPLITS[name] for name in splits}},
        "reference": {"task": "causal-lm", "text": "{language}.txt"},
        "methods": ["source-ft", "adamergex"],
        **changes,
    }
    return recipe_from(json.dumps(recipe), "r", folder)


def test_where_files_lie_changes_nothing_and_what_is_in_them_does(tmp_path):
    here, there = (planned(local_recipe(tmp_path / name)) for name in ("here", "there"))
    assert here == there
    assert planned(local_recipe(tmp_path / "text", text="a line.\n")) != here
    changed = planned(local_recipe(tmp_path / "rows", rows=ROWS.replace("row 8", "row 9")))
    assert not set(steps(changed, "score")) & set(steps(here, "score"))
    references = {s for s in steps(here, "train") if s.config["data"]["rows"] == "reference"}
    assert references <= set(steps(changed, "train"))  # the text is as it was
    for step in steps(here):
        assert str(tmp_path) not in str(step.config)


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (("dev", "test"), "t: train split in en: found none; needed one: see data_files.t.train"),
        (
            ("train", "test"),
            "t: dev split in sw: found none; needed one: see data_files.t.dev; "
            "scale.select: fixed needs none, but for few-shot",
        ),
        (("train", "dev"), "t: test split in sw: found none"),
    ],
)
def test_a_split_that_is_missing_is_named(tmp_path, splits, says):
    with pytest.raises(InputError) as raised:
        planned(local_recipe(tmp_path / "x", splits=splits))
    assert says in str(raised.value)


def test_without_labels_and_dev_the_choice_is_made_on_text(tmp_path):
    recipe = local_recipe(tmp_path / "x", splits=("train", "test"))
    recipe = recipe.model_copy(
        update={"scale": recipe.scale.model_copy(update={"select": "unlabelled"})}
    )
    (choice,) = steps(planned(recipe), "select")
    assert choice.inputs["dev.sw.0"].config["data"]["rows"] == "unlabelled"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("methods=[source-ft, adamerge]", "methods: found adamerge; needed zero-shot or"),
        ("tasks=[emojis]", "task: found emojis; needed emoji or"),
        ("targets=[sw]", "emoji: language: found sw"),
        ("reference=[{task: causal-lm, text: none.txt}]", "none.txt: found no such file"),
        ("reference=[{task: no-such-task}]", "task: found no-such-task"),
    ],
)
def test_what_there_is_not(change, says):
    with pytest.raises(InputError) as raised:
        planned(demo_recipe([change]))
    assert says in str(raised.value)


CHANGES = (
    "model=other", "adapter.r=4", "source=de", "targets=[tr]", "reference.0.max_samples=9",
    "methods=[source-ft, adamergex]", "merge.space=weight", "scale.grid=[0.5]",
    "scale.select=unlabelled",
    "scale.per=all", "training.learning_rate=1e-4", "training.vocabulary=full",
    "training.per_step.task.max_steps=3", "training.per_step.projection-from-t.max_steps=3",
    "max_samples.test=9", "seed=1", "reference.0.training.max_steps=2",
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_recipe_changes_the_last_step(change):
    assert planned(demo_recipe([change])) != planned(demo_recipe())
