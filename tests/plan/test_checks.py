"""Recipes that could not be carried out to the end, or not honestly, are refused before that."""

import shutil

import pytest

from adamergex.errors import InputError
from adamergex.plan import planned
from adamergex.recipe import demo_recipe
from adamergex.tasks import find_task
from tests.plan.test_experiment import local_recipe

DORA = "adapter={type: lora, r: 4, use_dora: true}"
BIAS = "adapter={type: lora, bias: lora_only}"
IA3 = "adapter={type: ia3}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["methods=[source-ft, magic]"], "methods: found magic; needed zero-shot or"),
        (["data_files={emoj: {train: x.csv}}"], "data_files: found emoj; needed emoji"),
        (["methods=[madx]", IA3], "adapter: type: found ia3; needed lora, for madx"),
        (["methods=[arimerge]", DORA], "adapter: use_dora: found True; needed none, for arimerge"),
        (["methods=[madx]", BIAS], "adapter: bias: found lora_only; needed none, for madx"),
        (
            ["methods=[layer-swapping]", "scale={grid: [0.5, 1.5]}"],
            "scale: grid: found 1.5; needed 0 to 1, a share of the layers",
        ),
        (
            ["tasks=[mgsm]", "source=en", "targets=[sw]", "scale={select: unlabelled}"],
            "scale: select: found unlabelled; needed dev or fixed: answers to mgsm in free text",
        ),
    ],
)
def test_what_is_known_to_fail_is_refused_before_anything_is_trained(changes, says):
    with pytest.raises(InputError) as raised:
        planned(demo_recipe(["training.vocabulary=full", *changes]))
    assert says in str(raised.value)


def test_two_tasks_of_one_name_would_overwrite_each_other(tmp_path):
    shutil.copy(find_task("emoji", tmp_path).path, tmp_path / "emoji.yaml")
    with pytest.raises(InputError, match="tasks: found emoji twice; needed names that differ"):
        planned(demo_recipe([f"tasks=[emoji, {tmp_path / 'emoji.yaml'}]"]))


@pytest.mark.parametrize(
    ("dev", "test", "apart"),
    [
        ("sw.csv[:4]", "sw.csv[4:]", True),
        ("sw.csv[4:]", "sw.csv[:4]", True),
        ("sw.csv[2:4]", "sw.csv[4:6]", True),
        ("sw.csv", "sw.csv", False),
        ("sw.csv", "sw.csv[8:]", False),
        ("sw.csv[:5]", "sw.csv[4:]", False),
        ("sw.csv[3:6]", "sw.csv[2:4]", False),
    ],
)
def test_dev_and_test_share_no_row(tmp_path, dev, test, apart):
    recipe = local_recipe(tmp_path / "x")
    files = recipe.data_files["t"].model_copy(update={"dev": dev, "test": test})
    recipe = recipe.model_copy(update={"data_files": {"t": files}})
    if apart:
        planned(recipe)
        return
    with pytest.raises(InputError, match="t: sw: found dev and test with rows in common"):
        planned(recipe)


def test_a_copy_under_another_name_is_found_out(tmp_path):
    """Files are known by what they hold."""
    recipe = local_recipe(tmp_path / "x")
    (tmp_path / "x" / "copy.csv").write_bytes((tmp_path / "x" / "sw.csv").read_bytes())
    files = recipe.data_files["t"].model_copy(update={"dev": "sw.csv", "test": "copy.csv"})
    with pytest.raises(InputError, match="rows in common"):
        planned(recipe.model_copy(update={"data_files": {"t": files}}))


@pytest.mark.parametrize(
    ("dev", "test", "apart"),
    [("test", "test", False), ("validation", "test", True), ("test[:9]", "test[9:]", True)],
)
def test_splits_on_the_hub_too(tmp_path, dev, test, apart):
    recipe = local_recipe(tmp_path / "x")
    hub = f"dataset_path: x/y\ntraining_split: train\nvalidation_split: {dev}\ntest_split: {test}\n"
    path = tmp_path / "x" / "t.yaml"
    path.write_text(path.read_text() + hub)
    recipe = recipe.model_copy(update={"data_files": {}})
    fixed = recipe.scale.model_copy(update={"select": "fixed", "grid": (0.5,)})
    planned(recipe.model_copy(update={"scale": fixed}))  # where nothing is chosen
    if apart:
        planned(recipe)
        return
    with pytest.raises(InputError, match="rows in common"):
        planned(recipe)


def test_a_softmax_over_tokens_in_use_is_not_for_free_text(tmp_path):
    path = tmp_path / "free.yaml"
    path.write_text(
        "task: free\noutput_type: generate_until\ndoc_to_text: text\ndoc_to_target: text\n"
        "metric_list: [{metric: exact_match}]\n"
    )
    with pytest.raises(InputError, match="vocabulary: found in-use; needed full: free"):
        planned(demo_recipe([f"tasks=[{path}]", "training.vocabulary=in-use"]))


@pytest.mark.parametrize("method", ["add-reference", "arimerge", "language-task-arithmetic"])
def test_a_reference_with_t_in_it_is_not_added_to_t(method):
    reference = "reference=[{task: distillation, text: emoji}, {task: causal-lm, text: emoji}]"
    with pytest.raises(InputError, match=f"found distillation; needed another first, for {method}"):
        planned(demo_recipe([reference, f"methods=[source-ft, {method}]"]))
    planned(demo_recipe([reference, "methods=[source-ft, projection, layer-swapping, adamergex]"]))
