"""Recipes from YAML: what is refused, by its path in the file, and what is changed by --set."""

import shlex
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from adamergex.errors import InputError
from adamergex.plan import planned
from adamergex.recipe import Recipe, demo_recipe, load_recipe, recipe_from
from adamergex.recipe.training import Training

FROM_T = "projection-from-t"
BASE = "model: m\nsource: en\ntargets: [fa]\ntasks: [emoji]\n"
RECIPES = Path(__file__).parents[2] / "recipes"


def loaded(extra="", changes=()):
    return recipe_from(BASE + extra, "r.yaml", Path(), changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metods: [x]", "r.yaml: metods: found a key that there is not; needed methods?"),
        ("reference: {txt: a}", "reference[0].txt: found a key that there is not; needed text?"),
        ("reference: [{task: a}, {trainig: 1}]", "reference[1].trainig: found a key"),
        ("reference: {training: {max_step: 1}}", "reference[0].training.max_step"),
        ("training: {lerning_rate: 1}", "training.lerning_rate: found a key that there is not; "
         "needed learning_rate?"),
        ("training: {gradient_checkpoints: true}", "training.gradient_checkpoints: found a key "
         "that there is not; needed gradient_checkpointing?"),
        ("training: {report_to: tensorbord}", "report_to[0]: found tensorbord; needed 'trackio', "),
        ("training: {logging_steps: 5}", "training: found {'logging_steps': 5}; needed report_to"),
        ("training: {dataloader_prefetch_factor: 2}", "needed dataloader_num_workers with"),
        ("training: {per_step: {lt_stf: {}}}", "training.per_step.lt_stf: found a key that there "
         "is not; needed lt-sft?"),
        ("training: {per_step: {lt-sft: {densty: 1}}}", "per_step.lt-sft.densty: found a key that "
         "there is not; needed density?"),
        ("training: {per_step: {projection: {}}}\nmethods: [projection-from-t]", "r.yaml: training."
         "per_step.projection: found no method of this recipe; needed projection-from-t? or proj"),
        ("training: {per_step: {madx: {}}}", "per_step.madx: found no method of this recipe; "
         "needed it among methods"),
        ("data_files: {emoji: {trian: x}}", "data_files.emoji.trian: found a key that there is "
         "not; needed train?"),
        ("scale: {select: best}", "scale.select: found best; needed 'dev', 'unlabelled', 'diver"),
        ("parallel: {shard: true}", "parallel: found {'shard': True}; needed processes: 2 or more"),
        ("scale: {select: fixed}", "scale: found {'select': 'fixed'}; needed one value in grid"),
        ("scale: {grid: []}", "scale.grid: found []"),
        ("seed: -1", "seed[0]: found -1"),
        ("seed: [1, 1]", "needed seed: each value once"),
        ("merge: {space: sideways}", "merge.space[0]: found sideways"),
        ("adapter: {type: lorra}", "adapter.type: found lorra; needed 'lora', 'ia3' or 'prefix'"),
        ("folder: /tmp", "folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_its_path(text, says):
    with pytest.raises(InputError) as raised:
        loaded(text)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: m\n", "source: found nothing"),
        (BASE.replace("[fa]", "[no]"), 'targets[0]: found False; needed a code; "no" must'),
        (BASE.replace("[fa]", "[fa, en]"), "other than the source en"),
        (BASE.replace("[fa]", "['../x']"), "targets[0]: found ../x"),
        (BASE + "model: n\n", "the key 'model' twice"),
        ("a: &x 1\nb: *x\n", "an alias"),
        ("!!python/object/apply:os.system ['true']", "needed plain YAML"),
        ("[1, 2]", "found list; needed a mapping"),
        ("a: [", "needed plain YAML"),
        ("{" * 2000, "needed plain YAML"),
    ],
)
def test_what_is_no_recipe(text, says):
    with pytest.raises(InputError) as raised:
        recipe_from(text, "r.yaml", Path())
    assert str(raised.value).startswith("r.yaml: ")
    assert says in str(raised.value)


def test_a_file_too_large_missing_or_not_text(tmp_path):
    for content, says in ((b"#" * (2**17 + 1), "bytes; needed at most"), (b"\xff\xfe", "UTF-8")):
        (tmp_path / "r.yaml").write_bytes(content)
        with pytest.raises(InputError, match=says):
            load_recipe(tmp_path / "r.yaml")
    with pytest.raises(InputError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_an_input_error(text):
    try:
        recipe_from(text, "r.yaml", Path())
    except InputError:
        pass
    else:
        raise AssertionError("a recipe needs more than that")


def test_a_value_may_be_a_list_or_one():
    recipe = loaded("seed: 3\nreference: {task: cloze, text: emoji}\nmerge: {space: factor}")
    assert (recipe.seed, recipe.merge.space) == ((3,), ("factor",))
    assert [reference.title for reference in recipe.reference] == ["cloze"]


def test_a_training_is_carried_out_as_trainers_name_it():
    assert loaded("training: {report_to: none}").training.execution() == {}
    said = loaded("training: {report_to: wandb, dataloader_num_workers: 2}").training
    assert said.execution() == {
        "report_to": ["wandb"],
        "logging_strategy": "steps",
        "logging_steps": 10,
        "dataloader_num_workers": 2,
    }
    assert said.given() == Training().given()


def test_changes_are_made_anywhere():
    recipe = loaded(
        "reference: [{task: cloze, text: emoji}]",
        [
            "training.learning_rate=1e-4",
            "training.per_step.lt-sft.density=0.2",
            "methods=[source-ft, lt-sft]",
            "reference.0.task=causal-lm",
            "targets=[tr, de]",
            "seed=[1, 2]",
        ],
    )
    assert recipe.training.learning_rate == 1e-4
    assert recipe.training.per_step.lt_sft.density == 0.2
    assert recipe.reference[0].task == "causal-lm"
    assert (recipe.targets, recipe.seed) == (("tr", "de"), (1, 2))


def test_what_a_file_says_of_a_method_is_left_out_with_it():
    written = (
        "methods: [source-ft, few-shot, madx]\ntraining: {per_step: {few-shot: {max_steps: 3}}}"
    )
    fewer = ["methods=[source-ft]"]
    assert loaded(written, fewer).training.per_step == loaded().training.per_step
    assert loaded(written, ["methods.2=xlt"]).training.per_step.few_shot.max_steps == 3
    both = loaded(written.replace("few-shot, madx", "ensemble").replace("few-shot", FROM_T))
    assert both.training.per_step.projection_from_t.max_steps == 3
    more = ["training.per_step.few-shot.max_steps=9"]
    for changes in (fewer + more, more + fewer):  # what is asked for now is not left out
        with pytest.raises(InputError, match="few-shot: found no method of this recipe"):
            loaded(written, changes)


@pytest.mark.parametrize("change", ["x", "=1", "model.a=1", "targets.7=x", "targets.a=x", "a.b=1"])
def test_a_change_that_is_none(change):
    with pytest.raises(InputError):
        loaded("", [change])


def test_the_fields_of_an_adapter_are_pefts():
    recipe = loaded("adapter: {type: ia3, target_modules: [k_proj], feedforward_modules: []}")
    assert recipe.adapter.fields == {
        "type": "ia3", "target_modules": ["k_proj"], "feedforward_modules": [],
    }  # fmt: skip
    assert loaded().adapter.fields == {"type": "lora", "target_modules": "all-linear"}


def test_what_is_written_down_gives_the_same_plan():
    recipe = demo_recipe()
    written = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    again = recipe_from(yaml.safe_dump(written), "again", Path.cwd())
    assert planned(again) == planned(recipe)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_run_where_nothing_but_the_repository_is(path):
    """Every file that a plan reads is looked for while it is made."""
    assert ".." not in path.read_text(encoding="utf-8")
    planned(load_recipe(path))


PAPER = RECIPES / "paper"
ROWS = [
    shlex.split(line)[2:]
    for line in (PAPER / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("    adamergex run ")
]
TASKS = ("mgsm", "xcopa", "xnli", "xquad", "xlsum")
TESTS = {"mgsm": "test", "xquad": "validation"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_the_rows_of_the_paper_are_planned_on_whole_test_sets(row):
    recipe = load_recipe(RECIPES.parent / row[0], row[2::2])
    last = planned(recipe)
    tests = [step for role, step in last.inputs.items() if role.startswith("test.")]
    assert len(tests) == len(recipe.methods) * len(recipe.targets)
    for step in tests:
        data = step.config["data"]
        assert data["source"]["split"] == TESTS.get(Path(recipe.tasks[0]).stem, "test")
        assert data["max_samples"] is None


def test_every_row_of_the_paper_is_there():
    named = [(Path(row[0]).stem, load_recipe(RECIPES.parent / row[0], row[2::2])) for row in ROWS]
    found = {(name, Path(task).stem) for name, recipe in named for task in recipe.tasks}
    llama = {(name, task) for name in ("llama2-lora", "llama2-ia3") for task in TASKS}
    others = {(name, "xnli") for name in ("t5-ia3", "mt5-lora", "xlmr-lora-xnli")}
    assert found == llama | others
    assert {name for name, _ in found} == {p.stem for p in PAPER.glob("*.yaml")} - set(TESTS)


def keys(model):
    for name, field in model.model_fields.items():
        yield field.alias or name
        for annotation in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from keys(annotation)


def test_the_template_is_a_recipe_and_has_every_top_level_key():
    text = (files("adamergex.recipe") / "template.yaml").read_text(encoding="utf-8")
    recipe_from(text, "template", Path())
    for key in set(Recipe.model_fields) - {"folder"}:
        assert f"{key}:" in text


def test_every_key_is_explained():
    docs = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for key in set(Recipe.model_fields) - {"folder"}:
        assert f"`{key}`" in docs
