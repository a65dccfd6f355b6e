"""The table in a terminal, and the sentence under it."""

import io

import pytest
from rich.console import Console

from adamergex.report import print_table
from adamergex.report.table import verdict
from adamergex.run.results import assembled
from tests.support.results import HEADLINE, experiment, test_record

NAMES = {"fa": "Persian", "tr": "Turkish"}


def printed(results, names=NAMES, width=140):
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False)
    print_table(results, names, console)
    return console.export_text()


@pytest.fixture(scope="module")
def results():
    return assembled(*experiment())


def test_every_number_is_printed(results):
    text = printed(results)
    for row in results["rows"]:
        line = f"{row['accuracy']:.3f} ± {row['standard_error']:.3f}"
        if versus := row.get("versus_source_ft"):
            low, high = versus["low"], versus["high"]
            difference = f"{versus['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
            assert any(line in x and difference in x for x in text.splitlines())
        else:
            assert line in text
    assert "Persian: test accuracy on 40 items" in text
    assert "chance 0.125, majority class 0.275" in text


def test_every_row_is_under_its_language(results):
    persian, turkish = printed(results).split("Turkish: test accuracy")
    for part in (persian, turkish):
        for name in ("zero-shot", "source-ft", "target-ft (oracle)", "adamergex (best on dev)"):
            assert part.count(name) >= 1


def test_a_language_without_a_name_keeps_its_code(results):
    assert "tr: test accuracy" in printed(results, {"fa": "Persian"})


def test_a_narrow_terminal_loses_no_number(results):
    text = " ".join(printed(results, width=80).split())
    for row in results["rows"]:
        assert f"{row['accuracy']:.3f}" in text


def test_names_are_text_and_never_markup():
    config, records = experiment(("fa",))
    for row in config["rows"]:
        row["variant"] = "[bold]x[/bold]"
    records["select.4"]["setting"] = "[red]t[/red]"
    text = printed(assembled(config, records), {"fa": "[blink]Persian[/blink]"})
    for name in ("[bold]x[/bold]", "[red]t[/red]", "[blink]Persian[/blink]"):
        assert name in text


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (36, "is better than source fine-tuning"),
        (4, "is worse than source fine-tuning"),
        (21, "cannot be told apart from source fine-tuning"),
    ],
)
def test_the_verdict_follows_the_interval(right, says):
    config, records = experiment(("fa",))
    records[f"test.{HEADLINE}"] = test_record(right)
    results = assembled(config, records)
    sentence = verdict(results, "fa", NAMES)
    assert f"Persian: AdaMergeX (translation, weight, t=0.5) {says}" in sentence
    assert f"{(right - 20) / 40:+.3f} [" in sentence
    versus = results["rows"][HEADLINE]["versus_source_ft"]
    assert (versus["low"] > 0, versus["high"] < 0) == ("better" in says, "worse" in says)


def test_the_best_rival_has_no_labels_of_the_target_and_is_no_merge_of_ours(results):
    sentence = verdict(results, "fa", NAMES)
    assert sentence.endswith(
        "the best rival on test is projection (parallel text) at 0.675 ± 0.075."
    )
