"""lm-evaluation-harness at work on our task files: prompts, answers, measures, and the sandbox."""

import math
from pathlib import Path

import numpy as np
import pytest

from adamergex.errors import InputError
from adamergex.tasks import Example, Questions, builtin_tasks, find_task

CHOICE = {
    "task": "t",
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}} =",
    "doc_to_choice": ["one", "two", "three"],
    "doc_to_target": "label",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}
FREE = {
    "task": "t",
    "output_type": "generate_until",
    "doc_to_text": "{{text}}:",
    "doc_to_target": "answer",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 7, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
ROWS = [{"text": f"row {i}", "label": i % 3, "answer": f"a{i}"} for i in range(6)]

# Rows with the columns of the data sets on the Hub, and what must come of them.
ROW = {
    "emoji": {"text": "red apple", "category": "Food", "emoji": "x"},
    "sib200": {"index_id": 1, "category": "science/technology", "text": "A sentence."},
    "xcopa": {
        "premise": "It rained.", "choice1": "The road got wet.", "choice2": "I slept.",
        "question": "effect", "label": 0, "idx": 0, "changed": False,
    },
    "xnli": {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0},
    "xquad": {
        "id": "1", "context": "Rain fell in Rome.", "question": "Where?",
        "answers": {"text": ["Rome"], "answer_start": [13]},
    },
    "mgsm": {
        "question": "2 + 3?", "answer": None, "answer_number": 5, "equation_solution": None,
    },
    "xlsum": {"id": "1", "url": "", "title": "", "summary": "It rained.", "text": "Rain fell."},
}  # fmt: skip
EXAMPLE = {
    "emoji": Example("red apple =", " Food", 3),
    "sib200": Example("A sentence.\nTopic:", " science", 0),
    "xnli": Example("It rains.\nQuestion: It is wet. True, False or Neither?\nAnswer:", " True", 0),
    "xquad": Example("Rain fell in Rome.\nQuestion: Where?\nAnswer:", " Rome"),
    "mgsm": Example("Question: 2 + 3?\nAnswer:", " 5"),
    "xlsum": Example("Rain fell.\nSummary:", " It rained.", tail=len("\nSummary:")),
}


def languages():
    for name in builtin_tasks():
        listed = find_task(name, Path()).languages
        for code in listed or ("swh_Latn", "eng_Latn"):
            yield name, code


@pytest.mark.parametrize(("name", "code"), list(languages()))
def test_every_built_in_task_in_every_language(name, code):
    found = Questions(find_task(name, Path()).in_language(code), [ROW[name]])
    (example,) = found.examples()
    if name == "xcopa":
        assert example.prompt.startswith("It rained ")
        assert example.prompt != "It rained "
        assert example.completion == " the road got wet."
        slept = " ı slept." if code == "tr" else " i slept."
        assert found.items[0].choices == (" the road got wet.", slept)
    else:
        assert example == EXAMPLE[name]


def test_english_copa_in_words():
    row = {**ROW["xcopa"], "question": "cause"}
    prompts = [
        Questions(find_task("xcopa", Path()).in_language("en", training=True), [each]).items[0]
        for each in (ROW["xcopa"], row)
    ]
    assert [item.prompt for item in prompts] == ["It rained so", "It rained because"]


def test_gsm8k_is_learnt_with_its_steps_and_mgsm_is_scored_by_its_number():
    task = find_task("mgsm", Path())
    row = {"question": "q", "answer": "1 + 1 = <<1+1=2>>2\n2 + 3 = <<2+3=5>>5\n#### 5"}
    (example,) = Questions(task.in_language("en", training=True), [row]).examples()
    assert example.completion == " 1 + 1 = 2\n2 + 3 = 5\nThe answer is 5"
    asked = Questions(task.in_language("sw"), [{"question": "q", "answer": "1,200"}] * 6)
    given = ["so 1200.", "3 then 1,200.00", "1200 or 7", "", "$1200", "12000"]
    (values,) = asked.measured([[text] for text in given]).values()
    assert values == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]


def test_items_and_examples():
    asked = Questions(CHOICE, ROWS)
    assert asked.items[4].choices == (" one", " two", " three")
    assert [item.gold for item in asked.items] == [0, 1, 2, 0, 1, 2]
    assert asked.examples()[4] == Example("row 4 =", " two", 1)
    free = Questions(FREE, ROWS)
    assert (free.items[2].until, free.items[2].max_gen_toks) == (("\n",), 7)
    assert free.examples()[2] == Example("row 2:", " a2")


def test_measures_are_those_of_the_harness():
    logs = np.random.default_rng(0).normal(size=(6, 3)) * 3
    found = Questions(CHOICE, ROWS).measured([[(x, False) for x in row] for row in logs.tolist()])
    gold = [row["label"] for row in ROWS]
    lengths = np.array([3, 3, 5])
    assert found["acc"] == [float(x) for x in logs.argmax(1) == gold]
    assert found["acc_norm"] == [float(x) for x in (logs / lengths).argmax(1) == gold]
    free = Questions(FREE, ROWS)
    given = ["a0", "a2", "", "a3 ", "A4", "a5"]
    found = free.measured([[text] for text in given])
    right = [t == row["answer"] for t, row in zip(given, ROWS, strict=True)]
    assert found["exact_match"] == [float(each) for each in right]
    assert math.isclose(free.aggregated("exact_match", found["exact_match"]), 2 / 6)
    by_length = Questions({**CHOICE, "metric_list": CHOICE["metric_list"][::-1]}, ROWS)
    answers = [[(x, False) for x in row] for row in logs.tolist()]
    assert list(by_length.measured(answers)) == ["acc_norm", "acc"]  # the first is the score
    # Asked again, the answers of before are forgotten.
    assert free.measured([[""]] * 6)["exact_match"] == [0.0] * 6


@pytest.mark.parametrize(
    ("metric", "measure"),
    [("acc", lambda _: 1.0), ("acc_norm", len), ("acc_bytes", lambda text: len(text.encode()))],
)
def test_what_a_choice_counts_for_picks_the_one_that_the_metric_picks(metric, measure):
    choices = ["one", "twenty-two", "üçüncü"]
    entries = [{"metric": metric, "aggregation": "mean", "higher_is_better": True}]
    made = Questions({**CHOICE, "doc_to_choice": choices, "metric_list": entries}, ROWS)
    counted = np.array(made.items[0].counted)
    np.testing.assert_allclose(counted * [measure(c) for c in choices], counted[0] * measure("one"))
    logs = -np.random.default_rng(0).uniform(1, 20, size=(len(ROWS), 3))
    found = made.measured([[(float(x), False) for x in row] for row in logs])
    picked = (logs * counted).argmax(1)
    assert found[metric] == [float(p == row["label"]) for p, row in zip(picked, ROWS, strict=True)]


def test_without_labels_there_are_questions_only():
    asked = Questions(CHOICE, [{"text": "x"}], labelled=False)
    assert asked.items[0].prompt == "x ="
    assert asked.items[0].gold is None


@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target", "doc_to_choice"])
@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ lipsum.__globals__['os'].getcwd() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for x in [].append.__self__.__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    ],
)
def test_a_template_does_not_reach_python(key, template):
    with pytest.raises(InputError) as raised:
        Questions({**CHOICE, key: template}, ROWS)
    assert "subclasses" in template or "globals" in template
    assert "built-in function" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "rows", "says"),
    [
        (CHOICE, [], "rows: found 0"),
        ({**CHOICE, "doc_to_text": "{{nothing}}"}, ROWS, "needed templates over text, label"),
        ({**CHOICE, "doc_to_target": "{{text}}"}, ROWS, "answer: found row 0; needed a choice"),
        (CHOICE, [{"text": "x", "label": 3}], "row 0, answer: found 3"),
        (CHOICE, [{"text": "x", "label": -1}], "answer: found -1; needed a choice"),
        (CHOICE, [{"text": "x", "label": 0.5}], "row 0"),
        (CHOICE, [{"text": "x", "label": float("nan")}], "row 0"),
    ],
)
def test_rows_that_do_not_fit(config, rows, says):
    with pytest.raises(InputError) as raised:
        Questions(config, rows)
    assert says in str(raised.value)
