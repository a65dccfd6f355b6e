"""Choices and answers: texts, numbers, booleans and lists, each what it is and nothing else."""

import csv
import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks import Questions, file_source, find_task
from adamergex.tasks.rendering import Template
from adamergex.tasks.row import Row
from adamergex.tasks.sources import rows
from tests.tasks.test_harness import CHOICE, FREE


def read(folder, name, records):
    """The rows of a csv or a JSON lines file with these in it."""
    path = folder / name
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(records[0]))
            table.writeheader()
            table.writerows(records)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in records))
    source, where = file_source(name, folder)
    return rows(source, {source["file"]: where})


def golds(folder, name, answers, choices, target="answer"):
    found = read(folder, name, [{"text": "x", "answer": answer} for answer in answers])
    config = {**CHOICE, "doc_to_choice": choices, "doc_to_target": target}
    return [item.choices[item.gold].strip() for item in Questions(config, found).items]


STARS = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "answers", "choices", "target", "wanted"),
    [
        # A boolean is a word, wherever it stands among the choices; True is no 1.
        ("a.jsonl", [True, False], ["True", "False"], "answer", ["True", "False"]),
        ("a.jsonl", [True, False], ["false", "true"], "{{answer}}", ["true", "false"]),
        ("a.csv", ["True", "False"], ["True", "False"], "answer", ["True", "False"]),
        ("a.jsonl", [True, False], ["no", "yes"], "{{answer | int}}", ["yes", "no"]),
        ("a.jsonl", [True, False], ["yes", "no"], "{{'yes' if answer else 'no'}}", ["yes", "no"]),
        ("a.csv", ["True", "False"], ["yes", "no"], "{{'yes' if answer else 'no'}}", ["yes", "no"]),
        ("a.csv", ["0", "1"], ["yes", "no"], "{{'no' if answer else 'yes'}}", ["yes", "no"]),
        # A number is an index, in csv, too, and a text is a choice.
        ("a.jsonl", [1, 0], ["bad", "good"], "answer", ["good", "bad"]),
        ("a.csv", [1, 0], ["bad", "good"], "answer", ["good", "bad"]),
        ("a.csv", ["1.0", "0.0"], ["bad", "good"], "answer", ["good", "bad"]),
        ("a.jsonl", ["1", "0"], ["bad", "good"], "{{answer}}", ["good", "bad"]),
        ("a.jsonl", [1, "bad"], ["bad", "good"], "answer", ["good", "bad"]),
        ("a.jsonl", [2, 1], ["bad", "good"], "{{answer - 1}}", ["good", "bad"]),
        ("a.csv", [2, 1], ["bad", "good"], "{{answer - 1}}", ["good", "bad"]),
        # What could be either is what the other answers are.
        ("a.csv", ["1", "3"], STARS, "answer", ["1", "3"]),
        ("a.csv", ["1", "0"], STARS, "answer", ["2", "1"]),
        ("a.jsonl", [1, 3], STARS, "answer", ["1", "3"]),
        ("a.jsonl", ["1", "2"], STARS, "answer", ["1", "2"]),
        ("a.csv", ["1", "2"], STARS, "{{answer | int}}", ["2", "3"]),
        ("a.csv", ["1", "2"], STARS, "{{['1', '2', '3'].index(answer)}}", ["1", "2"]),
        ("a.csv", ["1", "0"], ["0", "1"], "answer", ["1", "0"]),
        ("a.csv", ["020", "2.50"], ["2.50", "020"], "answer", ["020", "2.50"]),
        # The name of no column is a choice where it is one.
        ("a.csv", ["x"], ["good", "bad"], "good", ["good"]),
        ("a.csv", ["x"], ["good", "bad"], 1, ["bad"]),
    ],
)
def test_which_choice_an_answer_is(tmp_path, name, answers, choices, target, wanted):
    assert golds(tmp_path, name, answers, choices, target) == wanted


@pytest.mark.parametrize(
    ("name", "answers", "choices", "says"),
    [
        (
            "a.jsonl",
            [True],
            ["yes", "no"],
            "row 0, answer: found true (line 1); needed a choice in",
        ),
        ("a.jsonl", [True], ["yes", "no"], "{{ '...' if answer else '...' }}"),
        (
            "a.csv",
            ["1", "2"],
            STARS,
            "found 1, which is a choice, and the index of another (line 2)",
        ),
        ("a.jsonl", [1, 2], STARS, '"{{ answer | int }}" for the index'),
        ("a.csv", ["0", "3"], STARS, None),
        ("a.csv", ["1", "0", "3"], STARS, "row 0, answer: found 1, which"),
        ("a.csv", ["good", ""], ["bad", "good"], "row 1, answer: found no text (line 3)"),
        ("a.jsonl", [0, 1, 2], ["bad", "good"], "row 2, answer: found 2 (line 3)"),
        ("a.jsonl", [0.5], ["bad", "good"], "row 0, answer: found 0.5"),
        ("a.jsonl", [None], ["bad", "good"], "row 0, answer: found null"),
        ("a.jsonl", [[0]], ["bad", "good"], "row 0, answer: found [0]"),
        ("a.csv", ["01"], ["bad", "good"], "row 0, answer: found 01"),
        ("a.csv", [" good"], ["bad", "good"], "row 0, answer: found  good"),
    ],
)
def test_which_it_is_not_is_told_or_asked(tmp_path, name, answers, choices, says):
    if says is None:
        assert golds(tmp_path, name, answers, choices) == ["1", "3"]
        return
    with pytest.raises(InputError) as raised:
        golds(tmp_path, name, answers, choices)
    assert says in str(raised.value)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.permutations("01234"), st.booleans())
def test_no_answer_moves(tmp_path_factory, places, choices, typed):
    """Texts that are choices, whatever numbers they look like: each is itself, or it is asked."""
    answers = [choices[place] for place in places]
    folder = tmp_path_factory.getbasetemp()
    try:
        assert golds(folder, "a.jsonl" if typed else "a.csv", answers, list(choices)) == answers
    except InputError as error:
        assert "which is a choice, and the index of another" in str(error)
        assert not typed


def test_choices_are_as_a_file_writes_them(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "x", "answer": 1, "options": [2.50, "5", true], "b": 1E5}\n'
    )
    source, where = file_source("a.jsonl", tmp_path)
    found = rows(source, {source["file"]: where})
    config = {**CHOICE, "doc_to_target": "answer"}
    for choices, wanted in [
        ("options", (" 2.50", " 5", " true")),
        ("{{options}}", (" 2.50", " 5", " true")),
        ("{{[b, 'x']}}", (" 1E5", " x")),
    ]:
        assert Questions({**config, "doc_to_choice": choices}, found).items[0].choices == wanted
    for choices, says in [
        ("text", "found x .*; needed a list"),
        ("{{[]}}", "found no choices"),
        ("{{['']}}", "found an empty choice"),
        ("{{[nothing]}}", "'nothing' is"),
    ]:
        with pytest.raises(InputError, match=rf"a\.jsonl: row 0.*{says}"):
            Questions({**config, "doc_to_choice": choices}, found)


WORDS = "[yes, no, On, 1, 010, 2.50, null, ~, 2024-01-01, 12:30:00, .inf, 0x1F, 1_000]"


def test_words_in_a_task_file_are_as_they_are_written(tmp_path):
    """YAML reads yes as true, 010 as 8, 12:30:00 as 45000 and null as nothing."""
    task = {**CHOICE, "doc_to_target": "CHOSEN", "doc_to_choice": "CHOICES"}
    own = {"metadata": {"languages": {"sw": {"doc_to_choice": "CHOICES"}, "en": None}}}
    text = yaml.safe_dump({**task, **own}).replace("CHOICES", WORDS).replace("CHOSEN", "no")
    (tmp_path / "t.yaml").write_text(text)
    for language in ("en", "sw"):
        config = find_task("t.yaml", tmp_path).in_language(language)
        (item,) = Questions(config, [{"text": "x"}]).items
        assert [choice.strip() for choice in item.choices] == WORDS[1:-1].split(", ")
        assert item.gold == 1


# Answers in free text.

LISTS = [
    '["Lagos", "Accra"]', "[]", "[1, 2]", "{'a': 1}", '{"a": [1]}', "(1, 2)", "5", "020", "None",
    "[sic] so", "1_000", "True", "'x'", "[1.50]",
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("target", ["answer", "{{answer}}"])
def test_an_answer_that_looks_like_a_list_is_a_text(tmp_path, name, target):
    found = read(tmp_path, name, [{"text": "x", "answer": answer} for answer in LISTS])
    asked = Questions({**FREE, "doc_to_target": target}, found)
    assert [row.completion for row in asked.examples()] == [f" {text}" for text in LISTS]
    assert set(asked.measured([[text] for text in LISTS])["exact_match"]) == {1.0}
    assert set(asked.measured([[text + "x"] for text in LISTS])["exact_match"]) == {0.0}


def test_only_a_list_is_several_answers():
    records = [{"text": "x", "answer": ["one", 2.5]}, {"text": "y", "answer": "[1]"}]
    asked = Questions(FREE, records)
    assert [row.completion for row in asked.examples()] == [" one", " [1]"]
    assert asked.measured([["2.5"], ["[1]"]])["exact_match"] == [1.0, 1.0]
    assert asked.measured([["one, 2.5"], ["1"]])["exact_match"] == [0.0, 0.0]
    as_text = Questions({**FREE, "doc_to_target": "{{answer}}"}, records)
    assert as_text.examples()[0].completion == " ['one', 2.5]"
    as_json = Questions({**FREE, "doc_to_target": "{{[answer, '<\u0141']|tojson}}"}, records)
    assert as_json.examples()[1].completion == ' ["[1]", "<\u0141"]'


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "row 0, answer: found no text"), ("  ", "found no text"), ([], "found no text"),
        (None, "found null"), ({"text": "x"}, "found a mapping"), (["a", None], "found null"),
        ("cut \ud83d", r"found half a character, \ud83d"), (float("nan"), "found null"),
    ],
)  # fmt: skip
def test_no_answer_is_no_answer(answer, says):
    with pytest.raises(InputError) as raised:
        Questions(FREE, [{"text": "x", "answer": answer}])
    assert "t: row 0, answer: found" in str(raised.value)
    assert says in str(raised.value)
    assert "bad_rows: skip" in str(raised.value)


@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target", "doc_to_choice"])
def test_a_name_that_is_no_column_is_no_text(key):
    config = CHOICE if key == "doc_to_choice" else {**FREE, "doc_to_target": "label"}
    with pytest.raises(
        InputError, match=rf"t: {key}: found textt; needed a column \(text, label\)"
    ):
        Questions({**config, key: "textt"}, [{"text": "x", "label": 1}])


def test_columns_of_any_name_and_rows_of_any_keys():
    records = [
        {"text": "x", "label": 0, "self": 1, "so": 1},
        {"label": 1, "text": "y", "more": object()},
    ]
    asked = Questions(CHOICE, records)
    assert [item.prompt for item in asked.items] == ["x =", "y ="]
    with pytest.raises(InputError, match="t: row 1, so: found nothing; needed a value"):
        Questions({**CHOICE, "doc_to_text": "{{so}} {{text}}"}, records)
    either = Questions({**CHOICE, "doc_to_text": "{{so if so is defined else text}}"}, records)
    assert [item.prompt for item in either.items] == ["1", "y"]


def test_numpy_is_data_too():
    records = [{"text": np.str_("x"), "label": np.int64(1), "spare": np.array([1])}]
    assert Questions(CHOICE, records).items[0].gold == 1


@pytest.mark.parametrize(
    ("template", "cells", "wanted"),
    [
        ("{{ a }}", {"a": "020"}, "020"),
        ("{{ a + 1 }} {{ a }}", {"a": "2.50"}, "3.5 2.50"),
        ("{{ a - b }}", {"a": "5", "b": "3"}, "2"),
        ("{{ a + b }}", {"a": "5", "b": "3"}, "53"),
        ("{{ a + ' apples' }}", {"a": "5"}, "5 apples"),
        ("{{ '%s!' % a }}", {"a": "020"}, "020!"),
        ("{{ ['x', 'y'][a] }}", {"a": "1"}, "y"),
        ("{{ {0: 'x'}[a] }}{{ {'0': 'x'}[a] }}", {"a": "0"}, "xx"),
        ("{% if a == 1 %}one{% endif %}", {"a": "1"}, "one"),
        ("{% if a == '1' %}one{% endif %}", {"a": "1"}, "one"),
        ("{% if a == true %}so{% endif %}", {"a": "True"}, "so"),
        ("{% if a is false %}so{% endif %}", {"a": "FALSE"}, "so"),
        ("{{ 'so' if not a else a }}", {"a": "0"}, "so"),
        ("{{ a }}{{ 'x' if a else '' }}", {"a": "False"}, "False"),
        ("{{ a[:2] }}", {"a": "2024"}, "20"),
        ("{{ a | length }}", {"a": "2024"}, "4"),
    ],
)
def test_what_csv_calls_a_text_is_a_number_where_it_is_used_as_one(template, cells, wanted):
    assert Template(template).text(Row(cells, "a.csv", typed=False)) == wanted
