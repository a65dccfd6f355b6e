"""Recipes that could not be carried out to the end, or not honestly, are refused before that."""

import json
import shutil

import pytest

from adamergex.errors import InputError
from adamergex.plan import checks, planned
from adamergex.recipe import Reference, demo_recipe
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
            ["scale={select: divergence}", "reference={task: causal-lm, text: emoji}"],
            "scale: select: found divergence; needed a reference of",
        ),
        (
            ["tasks=[mgsm]", "source=en", "targets=[sw]", "methods=[ensemble]"],
            "methods: found ensemble; needed another, for mgsm: what is averaged is how likely",
        ),
        (
            ["adapter={type: lora, target_parameters: [mlp.experts.down_proj]}"],
            "adapter: target_parameters: found ['mlp.experts.down_proj']; needed none: PEFT",
        ),
        (
            ["training.gradient_checkpointing=true", "adapter={type: prefix}"],
            "training: gradient_checkpointing: found True; needed false, for a prefix",
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


def test_an_encoders_fresh_adapter_has_no_head_to_learn_with(tmp_path):
    for name, kind in (("encoder", "XLMRobertaForMaskedLM"), ("decoder", "LlamaForCausalLM")):
        (tmp_path / name).mkdir()
        family = {"encoder": "xlm-roberta", "decoder": "llama"}[name]
        config = {"model_type": family, "architectures": [kind]}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    changes = ["methods=[source-ft, projection-soft]", "training.vocabulary=full"]
    planned(demo_recipe([*changes, f"model={tmp_path / 'decoder'}"]))
    with pytest.raises(InputError, match="found projection-soft; needed projection-from-t, for an"):
        planned(demo_recipe([*changes, f"model={tmp_path / 'encoder'}"]))


def test_a_tracker_that_is_not_installed_is_known_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", {"tensorboardX": object()}.get)
    planned(demo_recipe(["training.report_to=tensorboard"]))
    with pytest.raises(InputError, match="report_to: found mlflow; needed it installed: pip"):
        planned(demo_recipe(["training.report_to=[tensorboard, mlflow]"]))


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
    learnt = recipe.model_copy(update={"scale": fixed, "methods": ("source-ft", "few-shot")})
    for one in (recipe, learnt):
        if apart:
            planned(one)
            continue
        with pytest.raises(InputError, match="rows in common"):
            planned(one)


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


ROWS = '{"text": "a big city", "label": "a"}\n{"text": "the house", "label": "b"}\n'
DISTILLED = {"task": "distillation", "text": "{language}.txt"}
NO_ROWS = {"task": "distillation", "items": "{language}.jsonl"}
WORDS = {"task": "distillation", "words": "words.tsv"}


@pytest.mark.parametrize(
    ("reference", "files", "says"),
    [
        (DISTILLED, {"sw.txt": "a\nb\n"}, "sw.txt: lines: found 2; needed 1, as in the source"),
        (DISTILLED, {"sw.txt": "\n"}, "sw.txt: rows with a text: found 0; needed at least one"),
        ({**DISTILLED, "text": "{language}.txt[5:]"}, {}, "en.txt: rows with a text: found 0"),
        (
            {**DISTILLED, "field": "title"},
            {},
            "field: found title; needed text, which t_en",
        ),
        ({"task": "distillation"}, {}, "text: found none; needed text, items or words for"),
        (NO_ROWS, {"sw.jsonl": ROWS[:37]}, "sw.jsonl: rows: found 1; needed 2, as in the source"),
        (
            NO_ROWS,
            {"sw.jsonl": ROWS.replace("text", "x")},
            "sw.jsonl: columns: found x, label; nee",
        ),
        ({**NO_ROWS, "task": "causal-lm"}, {}, "items: task: found causal-lm"),
        (WORDS, {}, "words.tsv: found no such file"),
        (
            WORDS,
            {"words.tsv": "mji\tcity\n"},
            "words.tsv: found 0% of the text's words; needed 10%",
        ),
        (WORDS, {"words.tsv": "mji\n"}, "words.tsv: row 0: found 1 field"),
        ({**WORDS, "words": {"yo": "words.tsv"}}, {}, "words: found none for sw; needed a file"),
        ({**WORDS, "field": "label"}, {"words.tsv": "row\tx\n"}, "field: found label; needed text"),
        ({**WORDS, "task": "self-labelled"}, {}, "words: task: found self-labelled; needed proj"),
        ({**NO_ROWS, "languages": ["en"]}, {}, "languages: found en; needed languages other than"),
    ],
)
def test_text_that_t_cannot_teach_from_is_found_before_t_is_trained(
    tmp_path, reference, files, says
):
    recipe = local_recipe(tmp_path / "x")
    for code in ("en", "sw"):
        (tmp_path / "x" / f"{code}.jsonl").write_text(ROWS)
    for name, content in files.items():
        (tmp_path / "x" / name).write_text(content)
    changed = recipe.model_copy(update={"reference": (Reference(**reference),)})
    with pytest.raises(InputError) as raised:
        planned(changed)
    assert says in str(raised.value)


@pytest.mark.parametrize("task", ["xnli", "xcopa", "xquad"])
def test_lines_of_text_are_no_questions_of_a_task_that_has_more(task):
    changes = [f"tasks=[{task}]", "source=en", "targets=[tr]", "scale={select: fixed, grid: [1.0]}"]
    with pytest.raises(InputError, match=r"found lines of text, .*; needed items: rows with"):
        planned(demo_recipe([*changes, "training.vocabulary=full"]))


@pytest.mark.parametrize(
    ("task", "answers", "says"),
    [
        ("xquad", "source", "answers: found source; needed target: answers to xquad are in the"),
        ("emoji", "target", "answers: found target; needed none: emoji is answered by a choice"),
    ],
)
def test_which_answers_can_be_learnt(task, answers, says):
    changes = [f"tasks=[{task}]", "source=en", "targets=[tr]", "scale={select: fixed, grid: [1.0]}"]
    reference = f"reference={{task: distillation, text: emoji, answers: {answers}}}"
    with pytest.raises(InputError) as raised:
        planned(
            demo_recipe([*changes, "training.vocabulary=full", "methods=[adamergex]", reference])
        )
    assert says in str(raised.value)


def test_t_is_chosen_on_its_own_text_or_not_without_labels(tmp_path):
    recipe = local_recipe(tmp_path / "x", splits=("train", "test"))
    other = Reference(task="distillation", text="{language}.txt", languages=("yo",))
    (tmp_path / "x" / "yo.txt").write_text("a line\n")
    unlabelled = recipe.scale.model_copy(update={"select": "unlabelled"})
    changed = recipe.model_copy(update={"reference": (other,), "scale": unlabelled})
    with pytest.raises(
        InputError, match="select: found unlabelled; needed dev or fixed, or dev it"
    ):
        planned(changed)
