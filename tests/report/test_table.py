"""The tables in a terminal."""

import io

import pytest
from rich.console import Console

from adamergex.errors import InputError
from adamergex.report import print_table, read_results
from tests.support.results import HOSTILE, hostile, results, with_means, write


def printed(found, width=150):
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False)
    print_table(found, console)
    return console.export_text()


def test_every_number_is_printed_in_its_row():
    found = results()
    text = printed(found).splitlines()
    for task in found["tasks"]:
        for row in task["rows"]:
            score = f"{row['score']:.3f} ± {row['standard_error']:.3f}"
            versus = row["versus_source_ft"]
            words = [row["method"], score]
            if versus:
                words.append(
                    f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"
                )
            assert any(all(word in line for word in words) for line in text), words


def test_every_task_and_language_has_its_table():
    text = printed(results())
    for title in (
        "sib200, Swahili: test accuracy on 204 items",
        "sib200, Yoruba: test accuracy on 204 items",
        "answers, Swahili: test F1 on 203 items",
        "answers, Yoruba: test F1 on 203 items",
    ):
        assert title in text
    assert text.count("chance 0.143; majority class 0.250") == 2
    assert text.count("cannot be told apart from source fine-tuning") == 2
    assert text.count("is worse than source fine-tuning") == 2


def test_the_means_have_a_table_with_what_deploying_gains_on_each_method():
    text = printed(with_means(results()))
    assert text.count("mean over 2 languages") == 1
    body = text[text.index("mean over 2 languages") : text.index("answers")].splitlines()
    (projection,) = (line for line in body if "projection" in line)
    for part in ("0.529 ± 0.034", "+0.068 [+0.010, +0.127]", "+0.013 [-0.007, +0.033]"):
        assert part in projection
    (ours,) = (line for line in body if "to deploy" in line)
    assert "[-0.007" not in ours
    assert "mean over" not in printed(results())


def test_a_column_of_means_that_says_nothing_is_left_out():
    found = with_means(results())
    for mean in found["tasks"][0]["means"]:
        mean["deployed_versus"] = mean["seed_sd"] = None
    text = printed(found)
    heads = text[text.index("mean over 2 languages") : text.index("answers")]
    assert "deployed against it" not in heads
    assert " sd " not in heads
    assert "against source-ft" in heads


def test_what_was_read_is_printed_as_what_was_made(tmp_path):
    assert printed(read_results(write(tmp_path, results()))) == printed(results())


def test_the_deviation_over_seeds_stands_where_there_is_one():
    assert "sd over seeds" in printed(results())
    assert "0.011" in printed(results())
    one = printed(results(seeds=(0,)))
    assert "sd over seeds" not in one
    assert "0.011" not in one


def test_a_language_without_a_name_keeps_its_code():
    assert "sib200, swh_Latn: test accuracy" in printed({**results(), "languages": {}})


def test_a_narrow_terminal_loses_no_number():
    found = results()
    text = " ".join(printed(found, width=80).split())
    for row in found["tasks"][0]["rows"]:
        assert f"{row['score']:.3f} ± 0.034" in text
        if versus := row["versus_source_ft"]:
            assert all(f"{versus[key]:+.3f}" in text for key in versus)


def test_names_are_text_and_never_markup():
    text = printed(hostile(), width=400)
    assert f"{HOSTILE}sib200, {HOSTILE}: test accuracy" in text
    assert f"adamergex ({HOSTILE}translation, weight)" in text
    assert f"-{HOSTILE}" in text
    assert f"{HOSTILE}: AdaMergeX ({HOSTILE}translation" in text


def test_results_of_another_schema_are_refused():
    with pytest.raises(InputError, match=r"results\.json: schema: found 1; needed 2 or 3"):
        printed({**results(), "schema": 1})
