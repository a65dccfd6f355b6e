"""Distillation as steps: what T teaches, and what is learnt of it, in every form that text has."""

import json

import numpy as np
import pytest
import torch

from adamergex.models import backbone
from adamergex.plan import planned
from adamergex.recipe import recipe_from
from adamergex.recipe.schema import Adapter
from adamergex.run import Store
from adamergex.run.local import performed
from adamergex.score import TaughtChoices, TaughtTokens, generations, read_taught, taught
from adamergex.step import in_order
from adamergex.tasks import asked
from tests.support.backbones import QUIET_TRAINING, write_tiny
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING

TASKS = {
    "sorts": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}} =",
        "doc_to_choice": ["of", "with", "in"],
        "doc_to_target": "label",
    },
    "continues": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}} and",
        "doc_to_choice": "{{[one, two]}}",
        "doc_to_target": "label",
    },
    "writes": {
        "output_type": "generate_until",
        "doc_to_text": "{{text}}:",
        "doc_to_target": "one",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    },
}
NAMES = ("red apple", "train", "a lion", "soccer ball", "a big smile", "the text")
OTHER = ("elma", "tren", "aslan", "top", "gülüş", "metin")
ROWS = {
    code: [
        {"text": text, "label": i % 2, "one": f"{end} {text}", "two": f"{end} {other}"}
        for i, (text, other) in enumerate(zip(names, reversed(names), strict=True))
    ]
    for code, names, end in (("en", NAMES, "an"), ("tr", OTHER, "bir"), ("xx", OTHER, "x"))
}
ITEMS = {"items": "{language}.jsonl"}
SWAPPED = {"words": "en_{language}.tsv", "field": ["text", "one", "two"]}


def recipe(folder, kind, task, learnt="distillation", **reference):
    write_tiny(kind, folder / "model")
    metrics = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    content = {"task": f"{task}_{{language}}", "metric_list": metrics, **TASKS[task]}
    (folder / f"{task}.yaml").write_text(json.dumps(content))
    for code, rows in ROWS.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{code}.jsonl").write_text(lines)
    words = zip(NAMES, OTHER, strict=True)
    (folder / "en_tr.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in words))
    return recipe_from(
        json.dumps(
            {
                "model": "model",
                "adapter": {"type": "ia3"},
                "source": "en",
                "targets": ["tr"],
                "tasks": [f"{task}.yaml"],
                "data_files": {task: dict.fromkeys(("train", "test"), "{language}.jsonl")},
                "reference": {"task": learnt, **reference},
                "methods": ["source-ft", "adamergex"],
                "scale": {"grid": [1.0], "select": "fixed"},
                "training": {"max_steps": 2, "learning_rate": 1e-3},
            }
        ),
        "r",
        folder,
    )


def test_answers_in_the_target_language_are_given_beside_the_source(tmp_path, monkeypatch):
    """T reads the source prompt and its own answer; Rt learns that without reading them."""
    made = recipe(tmp_path, "gemma3", "writes", **ITEMS, answers="target")
    written = []

    def kept(base, model, items):
        written.extend(items)
        return generations(base, model, items)

    monkeypatch.setattr("adamergex.score.generations", kept)
    record, folder, learnt = carried_out(tmp_path, made)
    assert record["rows"] == len(NAMES)
    teach = learnt.inputs["taught"]
    answers = Store(tmp_path / "steps").record(teach.inputs["labels"])["predictions"]
    assert [item.prompt for item in written] == [
        f"{name}: {answer.strip()}\n\n{other}:"
        for name, answer, other in zip(NAMES, answers, OTHER, strict=True)
    ]
    student = asked(learnt.config["data"], learnt.files).items
    assert [item.prompt for item in student.values()] == [f"{name}:" for name in OTHER]
    base = backbone(str(tmp_path / "model"))
    with base.adapted(Store(tmp_path / "steps").path(teach.inputs["adapter"]) / "adapter") as model:
        own = [f" {text.strip()}" for text in generations(base, model, written)]
        wanted = taught(base, model, written, answers=own)
    found, _ = read_taught(folder / "taught.safetensors")
    torch.testing.assert_close(found.logs, wanted.logs)
    assert torch.equal(found.answers, wanted.answers)


@pytest.mark.parametrize(
    ("kind", "structure"),
    [("gemma3", "lora"), ("gemma3", "prefix"), ("gemma3", "ia3"), ("t5", "ia3")],
)
def test_reading_is_learnt_from_the_untrained_adapter(tmp_path, kind, structure):
    """One start for T, Rt and Rs, which is it; each line behind the prompt that T's was behind."""
    adapters = {"ia3": {"type": "ia3"}, "prefix": {"type": "prefix", "num_virtual_tokens": 2}}
    adapters["lora"] = {"type": "lora", "r": 2, "target_modules": "all-linear"}
    made = recipe(tmp_path, kind, "sorts", "reading", text="{language}.txt")
    made = made.model_copy(update={"adapter": Adapter(**adapters[structure])})
    for code in ("en", "tr"):
        text = "".join(f"{row['text']}\n" for row in ROWS[code])
        (tmp_path / f"{code}.txt").write_text(text)
    steps = in_order([planned(made)])
    merge = next(step for step in steps if step.kind == "merge")
    store = Store(tmp_path / "steps")
    for step in in_order([merge]):
        performed(step, store.folder)
    roles = merge.inputs
    t, rt, rs = (
        stored_tensors(store.path(roles[role]) / "adapter")
        for role in ("task", "reference_target", "reference_source")
    )
    starts = {store.record(step)["init_sha256"] for step in roles.values()}
    assert len(starts) == 1
    assert any(np.abs(rt[name] - rs[name]).max() > 1e-5 for name in rs)
    assert rt.keys() == rs.keys() == t.keys()
    learnt = roles["reference_target"]
    items = asked(learnt.config["data"], learnt.files).items
    assert len({item.prompt.rpartition("\n")[2] for item in items.values()}) == 4
    own = asked(learnt.inputs["taught"].config["data"], learnt.files).items
    pairs = zip(items.values(), own.values(), strict=True)
    assert all(a.prompt.rpartition("\n")[2] == b.prompt.rpartition("\n")[2] for a, b in pairs)


@pytest.mark.parametrize("kind", ["gemma3", "t5"])
def test_soft_projection_is_learnt_from_the_untrained_adapter(tmp_path, kind):
    made = recipe(tmp_path, kind, "continues", **ITEMS)
    made = made.model_copy(update={"methods": ("source-ft", "projection-soft")})
    record, folder, learnt = carried_out(tmp_path, made)
    assert learnt.inputs["start"].kind == "start"
    assert (record["rows"], record["steps"]) == (len(NAMES), 2)
    assert record["losses"][0] > 0
    found, _ = read_taught(folder / "taught.safetensors")
    assert type(found) is TaughtChoices


def carried_out(folder, recipe):
    """The records of what was taught and of what was learnt, and the folder of the former."""
    steps = in_order([planned(recipe)])
    store = Store(folder / "steps")
    kinds = ("distil", "teach")
    wanted = [step for step in steps if step.kind in kinds]
    for step in in_order(wanted):
        performed(step, store.folder)
    learnt, teach = (next(step for step in wanted if step.kind == kind) for kind in kinds)
    return store.record(learnt), store.path(teach), learnt


@pytest.mark.parametrize(
    ("kind", "task", "form"),
    [
        ("gemma3", "sorts", TaughtTokens),
        ("gemma3", "continues", TaughtChoices),
        ("gemma3", "writes", TaughtTokens),
        ("t5", "writes", TaughtTokens),
        ("t5", "continues", TaughtChoices),
        ("xlm-roberta", "sorts", TaughtChoices),
    ],
)
def test_from_parallel_items_each_family_learns_each_kind_of_answer(tmp_path, kind, task, form):
    record, folder, _ = carried_out(tmp_path, recipe(tmp_path, kind, task, **ITEMS))
    assert record["rows"] == len(NAMES)
    assert record["steps"] == len(record["losses"]) == 2
    assert record["losses"][0] > 0
    assert "coverage" not in record
    found, lines = read_taught(folder / "taught.safetensors")
    assert type(found) is form
    assert lines == list(range(len(NAMES)))
    if task == "sorts" and kind == "gemma3":
        assert set(found.lengths.tolist()) == {1}


@pytest.mark.parametrize("task", ["continues", "sorts"])
def test_without_any_text_the_tasks_own_prompts_are_swapped(tmp_path, task):
    fields = SWAPPED if task == "continues" else {**SWAPPED, "field": "text"}
    made = recipe(tmp_path, "gemma3", task, **fields)
    record, _, step = carried_out(tmp_path, made)
    assert 0.1 < record["coverage"] <= 1
    assert f"the word list has {record['coverage']:.0%} of the text's words" in step.label
    items = asked(step.config["data"], step.files).items
    prompts = [item.prompt for item in items.values()]
    assert prompts[0].startswith("elma ")
    taught = asked(step.inputs["taught"].config["data"], step.files).items
    assert taught[0].prompt.startswith("red apple ")
    if task == "continues":
        assert items[0].choices == (" an elma", " an metin")


def test_other_languages_stand_in_line_by_line(tmp_path):
    made = recipe(tmp_path, "gemma3", "sorts", **ITEMS, languages=["tr", "xx"])
    changed = made.model_copy(update={"targets": ("yo", "sw")})
    for code in ("yo", "sw"):
        (tmp_path / f"{code}.jsonl").write_text((tmp_path / "tr.jsonl").read_text())
    record, _, step = carried_out(tmp_path, changed)
    assert record["rows"] == len(NAMES)
    steps = in_order([planned(changed)])
    assert len([s for s in steps if s.kind == "distil"]) == 1  # one for all targets
    items = asked(step.config["data"], step.files).items
    own = [asked(part, step.files).items for part in step.config["data"]["of"]]
    assert [items[i] for i in range(6)] == [own[i % 2][i] for i in range(6)]
