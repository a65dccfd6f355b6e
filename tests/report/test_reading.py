"""results.json is checked once, and what does not fit is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.report.fields import one_line
from adamergex.report.reading import checked, read_results
from tests.support.results import named, results, row_of, with_means, write


def test_what_fits_is_read_as_it_stands(tmp_path):
    found = read_results(write(tmp_path, results()))
    made = results()
    assert found.targets == made["targets"]
    assert found.recipe_text == made["recipe_text"]
    for task, part in zip(found.tasks, made["tasks"], strict=True):
        for row, plain in zip(task.rows, part["rows"], strict=True):
            assert row.model_dump(exclude_unset=True) == plain
        assert {k: v for k, v in task.model_dump().items() if k != "rows"} == {
            k: v for k, v in part.items() if k != "rows"
        }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        ("[]", "a JSON object"),
        ("{}", "schema: found nothing; needed 2"),
        ('{"schema": 1}', "schema: found 1; needed 2 or 3"),
    ],
)
def test_a_file_that_is_something_else(tmp_path, content, words):
    path = tmp_path / "results.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as raised:
        read_results(tmp_path)
    assert str(path) in str(raised.value)
    assert words in str(raised.value)


def without(key):
    return lambda found: found.pop(key)


def changed(key, value):
    return lambda found: row_of(found, "source-ft").update({key: value})


def twice(found):
    named(found)["rows"].append(row_of(found, "source-ft"))


def two_to_deploy(found):
    row_of(found, "source-ft")["headline"] = True


def mean_twice(found):
    means = named(with_means(found))["means"]
    means.append(means[0])


def mean_of_nothing(found):
    named(with_means(found))["means"][0]["method"] = "xlt"


def two_means_to_deploy(found):
    named(with_means(found))["means"][0]["headline"] = True


def task_twice(found):
    found["tasks"].append(found["tasks"][0])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (without("targets"), "targets: found nothing"),
        (without("recipe_text"), "recipe_text: found nothing"),
        (changed("score", "high"), "tasks.0.rows.1.score: found high"),
        (changed("score", float("nan")), "tasks.0.rows.1.score: found nan"),
        (changed("score", True), "tasks.0.rows.1.score: found True"),
        (changed("runs", []), "tasks.0.rows.1.runs"),
        (changed("n", -1), "tasks.0.rows.1.n: found -1"),
        (changed("target", "xho_Latn"), "tasks.0.rows.1.target: found xho_Latn"),
        (changed("versus_source_ft", {"difference": 0.1}), "tasks.0.rows.1.versus_source_ft.low"),
        (twice, "tasks.0.rows.16: found swh_Latn / source-ft / "),
        (two_to_deploy, "tasks.0.rows.7.headline"),
        (mean_twice, "tasks.0.means: found one twice"),
        (mean_of_nothing, "tasks.0.means: found one without a row"),
        (two_means_to_deploy, "tasks.0.means: found a second one to deploy"),
        (task_twice, "tasks: found sib200, answers, sib200"),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, change, field):
    found = results()
    change(found)
    with pytest.raises(InputError) as raised:
        read_results(write(tmp_path, found))
    assert f"results.json: {field}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fields_of_a_later_version_are_left_aside():
    found = {**results(), "weather": "fair"}
    assert checked(found) == checked(results())


@given(st.text())
def test_names_become_one_line_that_a_file_can_hold(text):
    line = one_line(text)
    assert line.isprintable() or any(c in line for c in "\u200c\u200d")
    assert "\n" not in line
    assert line == line.strip()
    line.encode("utf-8")
    assert one_line(line) == line


@given(st.text(st.characters(categories=["L", "N", "P"])))
def test_what_is_printable_stays_as_it_is(text):
    assert one_line(text) == text


def test_a_name_cannot_drive_the_terminal_nor_turn_the_text_round(tmp_path):
    found = results()
    found["languages"]["swh_Latn"] = "Swa\x1b[2Jhi\u202eli\ud800\n\x00"
    read = read_results(write(tmp_path, json.loads(json.dumps(found))))
    assert read.language("swh_Latn") == "Swa\ufffd[2Jhi\ufffdli\ufffd \ufffd"
