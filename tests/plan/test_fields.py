"""Changing a field of a recipe does that again which it is about and what follows, no more."""

import dataclasses
import json

import pytest
from pydantic import BaseModel

from adamergex.methods import METHODS, Catalog
from adamergex.plan import checks, planned
from adamergex.recipe import DataFiles, Recipe, Reference, demo_recipe
from adamergex.step import in_order

REFERENCES = [
    {"task": "causal-lm", "text": "emoji"},
    {"task": "translation", "text": "emoji", "name": "into-english"},
]
BASE = {
    "methods": list(METHODS),
    "reference": REFERENCES,
    "merge": {"space": ["weight", "factor"]},
    "scale": {"grid": [0.5], "select": "dev"},
    "training": {"vocabulary": "full"},
}
PARAPHRASED = {"task": "translation", "text": "emoji", "counterpart": "paraphrase"}
TRAINED = {"train", "train-sparse"}
WAYS = {"merge", "arimerge", "weighted", "layer-swap"}

Trainer = {
    "learning_rate": 1e-3,
    "num_train_epochs": 7,
    "max_steps": 7,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "max_length": 77,
    "lr_scheduler_type": "linear",
    "warmup_steps": 3,
    "weight_decay": 0.5,
    "max_grad_norm": 0.5,
    "optim": "sgd",
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "adam_epsilon": 0.5,
    "bf16": True,
}


def second(key, value):
    """A change of the second reference task."""
    return {"reference": [REFERENCES[0], {**REFERENCES[1], key: value}]}


def swapped(**changes):
    """A recipe whose Rt reads the task's own prompts with words replaced."""
    reference = {"task": "distillation", "words": "WORDS", "field": "text", **changes}
    return {"reference": [reference], "methods": ["source-ft", "adamergex"], "tasks": "TWO"}


def parallel(items):
    """A recipe whose references are parallel rows of the task."""
    return {**swapped(words=None, items=items), "scale": {"grid": [0.5], "select": "fixed"}}


def written(answers):
    """A recipe whose Rt learns answers in free text."""
    return {**parallel("ITEMS"), "tasks": "FREE", "reference": [
        {"task": "distillation", "field": "text", "items": "ITEMS", "answers": answers}
    ]}  # fmt: skip


@dataclasses.dataclass
class Case:
    """What a field is changed to, and the kinds of the steps that the change is about.

    Attributes:
        field: Its path.
        change: Section -> what it holds then.
        kinds: Of the steps that are new though all that they take is as it was.
        label: What each of those has in its label.
        before: Another recipe to start from.
    """

    field: str
    change: dict
    kinds: set
    label: str = ""
    before: dict = dataclasses.field(default_factory=dict)


CASES = [
    Case("model", {"model": "another/model"}, {"model"}),
    *(
        Case(
            f"model_kwargs.{key}",
            {"model_kwargs": {key: value}},
            {"model"},
            before={"methods": ["source-ft", "adamergex"]},
        )
        for key, value in (
            ("dtype", "bfloat16"), ("attn_implementation", "eager"), ("quantization", "nf4"),
        )
    ),
    Case("apply_chat_template", {"apply_chat_template": True}, {*TRAINED, "start", "score"}),
    Case(
        "system_instruction",
        {"system_instruction": "Be short."},
        {*TRAINED, "start", "score"},
        before={"apply_chat_template": True},
    ),
    Case("adapter", {"adapter": {"type": "lora", "r": 3}}, {"train", "start"}),
    Case(
        "adapter.type",
        {"adapter": {"type": "ia3"}},
        {"train"},
        before={"adapter": {"type": "lora"}, "methods": ["source-ft", "adamergex"]},
    ),
    Case("source", {"source": "de"}, {*TRAINED, "score"}),
    Case("targets", {"targets": ["fa", "tr", "de"]}, {*TRAINED, "distil", "score"}, ", de"),
    Case("targets", {"targets": ["fa"]}, {"results"}),
    Case("tasks", {"tasks": "TASK"}, {*TRAINED, "score"}),
    Case("reference.task", second("task", "cloze"), {"train"}, "into-english"),
    Case("reference.text", second("text", "ntrex"), {"train"}, "into-english"),
    Case("reference.column", second("column", "emoji"), {"train"}, "into-english"),
    Case("reference.max_samples", second("max_samples", 9), {"train"}, "into-english"),
    Case("reference.counterpart", second("counterpart", "dropped"), {"train"}, "into-english, en"),
    Case(
        "reference.paraphrases",
        {"reference": [{**PARAPHRASED, "paraphrases": "ntrex"}]},
        {"train"},
        "translation, en",
        before={"reference": [{**PARAPHRASED, "paraphrases": "emoji"}]},
    ),
    # T reads the same text; what stands for it in the target language is another.
    *(
        Case(f"reference.{key}", swapped(**{key: value}), {"distil"}, before=swapped())
        for key, value in (
            ("field", ["text", "emoji"]), ("words", "OTHER WORDS"), ("share", 0.5),
        )
    ),
    Case("reference.answers", written("target"), {"teach"}, before=written("source")),
    Case(
        "reference.prompts",
        {"reference": [{"task": "reading", "text": "emoji", "prompts": ["{{text}} is like"]}]},
        {"teach"},
        before={
            "reference": [{"task": "reading", "text": "emoji"}],
            "methods": ["source-ft", "adamergex"],
        },
    ),
    Case("reference.items", parallel("OTHER ITEMS"), {"teach"}, before=parallel("ITEMS")),
    Case(
        "reference.languages",
        {"reference": [{"task": "distillation", "text": "emoji", "languages": ["de", "ar"]}]},
        {"distil"},
        before={
            "reference": [{"task": "distillation", "text": "emoji"}],
            "methods": ["source-ft", "adamergex"],
        },
    ),
    Case("bad_rows", {"bad_rows": "skip"}, {*TRAINED, "score"}),
    # Settings are chosen among by what they are called in the report.
    Case("reference.name", second("name", "other"), {"select"}, "choose"),
    *(
        Case(f"reference.training.{key}", second("training", {key: value}), {"train"}, "english")
        for key, value in Trainer.items()
    ),
    Case("methods", {"methods": [m for m in METHODS if m != "madx"]}, {"results"}),
    Case("merge.space", {"merge": {"space": "weight"}}, {"select"}, "best of these"),
    Case("merge.rank", {"merge": {"space": ["weight", "factor"], "rank": 3}}, {"merge"}, "weight"),
    Case(
        "merge.ia3",
        {"merge": {"ia3": "geometric"}},
        {"merge"},
        before={"adapter": {"type": "ia3"}, "methods": ["source-ft", "adamergex"], "merge": {}},
    ),
    Case("scale.grid", {"scale": {"grid": [0.5, 0.75], "select": "dev"}}, WAYS, "0.75"),
    Case("scale.select", {"scale": {"grid": [0.5], "select": "unlabelled"}}, {"score"}, "choosing"),
    Case("scale.per", {"scale": {"grid": [0.5], "select": "dev", "per": "all"}}, {"select"}),
    *(
        Case(f"training.{key}", {"training": {key: value}}, TRAINED)
        for key, value in Trainer.items()
        if key != "bf16"
    ),
    Case("training.bf16", {"training": {"bf16": True}}, TRAINED),
    Case("training.vocabulary", {"training": {"vocabulary": "in-use"}}, TRAINED),
    *(
        Case(
            f"training.per_step.{step}.{key}",
            {"training": {"per_step": {step: {key: value}}}},
            kinds,
            label,
        )
        for step, kinds, label in (
            ("task", TRAINED, "emoji"),
            ("target-ft", {"train"}, "train labels, from T"),
            ("few-shot", {"train"}, "dev labels, from T"),
            ("projection", {"train"}, "projected labels"),
            ("projection-from-t", {"train"}, "from T"),
            ("projection-soft", {"distil"}, "projected soft labels"),
            ("projection-with-source", {"train"}, "and en labels"),
            ("madx", {"train"}, "on the language adapter"),
            ("lt-sft", {"train-sparse"}, ""),
        )
        for key, value in {**Trainer, **({"density": 0.2} if step == "lt-sft" else {})}.items()
    ),
    Case("max_samples.train", {"max_samples": {"train": 9}}, TRAINED),
    Case("max_samples.dev", {"max_samples": {"dev": 9}}, {"score", "train"}),
    Case("max_samples.test", {"max_samples": {"test": 9}}, {"score"}),
    Case("seed", {"seed": 1}, {*TRAINED, "start"}),
]  # fmt: skip


def leaves(section=Recipe, path=()):
    """The path of every field of a recipe that is not a section of its own."""
    for name, field in section.model_fields.items():
        inner = [c for c in (field.annotation, *getattr(field.annotation, "__args__", ()))
                 if isinstance(c, type) and issubclass(c, BaseModel)]  # fmt: skip
        here = (*path, field.alias or name)
        if inner:
            yield from leaves(inner[0], here)
        else:
            yield ".".join(here)


CARRIED = {
    "gradient_checkpointing": True,
    "report_to": ["tensorboard", "mlflow"],
    "logging_steps": 5,
    "dataloader_num_workers": 2,
    "dataloader_prefetch_factor": 3,
    "dataloader_pin_memory": True,
}
ELSEWHERE = {
    "leaks": "test_leaks.test_test_items_elsewhere_are_refused",
    "base_model": "test_what_adapters_call_their_base_changes_nothing",
    "folder": "where relative paths start, and no key of the file",
    "parallel.processes": "test_how_many_processes_train_changes_nothing",
    "parallel.shard": "test_how_many_processes_train_changes_nothing",
    **{f"training.{key}": "test_how_trainings_are_carried_out_changes_nothing" for key in CARRIED},
    **{
        f"data_files.{key}": "test_where_files_lie_changes_nothing_and_what_is_in_them_does"
        for key in ("train", "dev", "test", "columns")
    },
    "data_files.quoting": "test_quotation_marks_are_part_of_what_a_file_is",
    "reference.quoting": "test_quotation_marks_are_part_of_what_a_file_is",
}


def test_every_field_is_here():
    """A field that is added to the schema needs a case."""
    assert {case.field for case in CASES} - {"adapter"} == set(leaves()) - set(ELSEWHERE)


def test_quotation_marks_are_part_of_what_a_file_is(tmp_path):
    (tmp_path / "a.tsv").write_text('text\n"x"\n')
    found = []
    for quoting in ("csv", "none"):
        files = {"train": "a.tsv", "quoting": quoting}
        catalog = Catalog("en", tmp_path, {"sib200": DataFiles(**files)})
        reference = Reference(task="causal-lm", text="a.tsv", quoting=quoting)
        found.append(
            (
                catalog.find(catalog.task("sib200"), "en", "train").config["source"]["quoting"],
                catalog.reference(reference, "en").config["lines"]["source"]["quoting"],
            )
        )
    assert found == [("csv", "csv"), ("none", "none")]


def plan(sections):
    changes = [f"{key}={json.dumps(value)}" for key, value in sections.items()]
    return in_order([planned(demo_recipe(changes))])


def test_what_adapters_call_their_base_changes_nothing():
    assert plan(BASE) == plan({**BASE, "base_model": "org/name"})


def test_how_many_processes_train_changes_nothing():
    alone, shared = (
        plan({**BASE, **more}) for more in ({}, {"parallel": {"processes": 4, "shard": True}})
    )
    assert alone == shared
    kinds = {step.kind for step in shared if (step.processes, step.shard) == (4, True)}
    assert kinds == {"train", "distil"}
    assert {(step.processes, step.shard) for step in alone} == {(1, False)}


def test_how_trainings_are_carried_out_changes_nothing(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: object())  # they are installed
    training = {**BASE["training"], **CARRIED}
    plain, carried = plan(BASE), plan({**BASE, "training": training})
    assert plain == carried
    found = [step for step in carried if step.execution]
    assert {step.kind for step in found} == TRAINED | {"distil"}
    for step in found:
        assert step.execution == {**CARRIED, "logging_strategy": "steps"}


def test_a_base_loaded_as_usual_changes_nothing():
    usual = {"dtype": "float32", "attn_implementation": None, "quantization": None}
    assert plan(BASE) == plan({**BASE, "model_kwargs": usual})


TASK = {
    "task": "named", "dataset_path": "builtin:emoji", "dataset_name": "{language}",
    "training_split": "train", "validation_split": "dev", "test_split": "test",
    "output_type": "multiple_choice", "doc_to_text": "{{text}} is", "doc_to_choice": ["Food"],
    "doc_to_target": "category", "metric_list": [{"metric": "acc"}],
}  # fmt: skip


COMMON = ("man", "woman", "person", "with", "skin", "tone", "of", "and", "face", "button", "flag")
FILES = {
    "TASK": ("named.yaml", json.dumps(TASK)),
    "TWO": ("two.yaml", json.dumps({**TASK, "doc_to_text": "{{text}} {{emoji}}"})),
    "FREE": (
        "free.yaml",
        json.dumps(
            {
                **{key: x for key, x in TASK.items() if key != "doc_to_choice"},
                "output_type": "generate_until",
            }
        ),
    ),
    "WORDS": ("words.tsv", "".join(f"{word}\t{word[::-1]}\n" for word in COMMON)),
    "OTHER WORDS": ("other.tsv", "".join(f"{word}\t{word.upper()}\n" for word in COMMON)),
    "ITEMS": ("items.csv", "text,emoji\na face,x\n"),
    "OTHER ITEMS": ("others.csv", "text,emoji\na flag,x\na hand,y\n"),
}


def filled(value, folder):
    """Names of FILES replaced by paths."""
    if isinstance(value, dict):
        return {
            key: [filled(x, folder)] if key == "tasks" and x in FILES else filled(x, folder)
            for key, x in value.items()
        }
    if isinstance(value, list):
        return [filled(inner, folder) for inner in value]
    return str(folder / FILES[value][0]) if value in FILES else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.field)
def test_what_a_field_is_about_is_done_again_and_no_more(case, tmp_path):
    for name, content in FILES.values():
        (tmp_path / name).write_text(content)
    before, change = (filled(x, tmp_path) for x in ({**BASE, **case.before}, case.change))
    old, new = set(plan(before)), plan({**before, **change})
    first = [step for step in new if step not in old and set(step.inputs.values()) <= old]
    assert {step.kind for step in first} == case.kinds
    assert all(case.label in step.label for step in first), [step.label for step in first]
    # What follows from those is new; whatever does not is there already.
    follows = set(first)
    for step in new:
        if follows & set(step.inputs.values()):
            follows.add(step)
    assert {step for step in new if step not in old} == follows
    assert new[-1] in follows  # the results
