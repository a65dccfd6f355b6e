"""The table of an experiment, against figures counted by hand from its records."""

import copy

import numpy as np
import pytest

from adamergex.run.results import assembled
from adamergex.score import paired_bootstrap
from tests.support.results import ALIGNMENTS, ROWS, N, experiment, select_record, test_record


@pytest.fixture
def made():
    return assembled(*experiment())


def rows_of(results, target):
    return [row for row in results["rows"] if row["target"] == target]


def row_of(results, target, method, variant=""):
    (row,) = (
        r for r in rows_of(results, target) if (r["method"], r["variant"]) == (method, variant)
    )
    return row


@pytest.mark.parametrize(("target", "fewer"), [("fa", 0), ("tr", 1)])
def test_accuracies_and_differences(made, target, fewer):
    base = 20 - fewer
    for (method, variant, right, *_), row in zip(ROWS, rows_of(made, target)[:-1], strict=True):
        count = right - fewer * (method != "target-ft")
        assert (row["method"], row["variant"], row["n"]) == (method, variant, N)
        assert row["accuracy"] == count / N
        assert row["gap_closed"] == pytest.approx((count - base) / (30 - base))
        if method == "source-ft":
            assert "versus_source_ft" not in row
        else:
            versus = row["versus_source_ft"]
            assert versus["difference"] == pytest.approx((count - base) / N)
            assert versus["low"] <= versus["difference"] <= versus["high"]


def test_the_interval_pairs_the_items(made):
    """17 and 20 right: three items differ, all one way, so that 0 to 6 of 40 are resampled."""
    versus = row_of(made, "fa", "adamergex", "causal-lm, factor")["versus_source_ft"]
    ours, theirs = (test_record(right)["correct"] for right in (17, 20))
    difference, low, high = paired_bootstrap(ours, theirs)
    assert versus == {"difference": difference, "low": low, "high": high}
    error = (np.array(ours, float) - np.array(theirs, float)).std() / N**0.5
    assert high <= 0 < error
    assert low == pytest.approx(-3 / 40 - 1.96 * error, abs=0.02)


def test_settings_are_those_of_dev(made):
    row = row_of(made, "fa", "adamergex", "translation, weight")
    assert (row["setting"], row["strength"]) == ("t=0.5", 0.5)
    assert [point["accuracy"] for point in row["dev"]] == [0.5, 0.625, 0.55]
    assert "setting" not in row_of(made, "fa", "source-ft")
    assert row_of(made, "fa", "arimerge", "translation")["strength"] == 0


def test_the_headline_is_the_row_that_dev_likes_best(made):
    for target in ("fa", "tr"):
        *_, headline = rows_of(made, target)
        best = row_of(made, target, "adamergex", "translation, weight")
        assert headline["headline"]
        assert headline["variant"] == "best on dev"
        assert headline["setting"] == "translation, weight, t=0.5"
        same = ("accuracy", "n", "step", "strength", "versus_source_ft", "gap_closed", "dev")
        assert {name: headline[name] for name in same} == {name: best[name] for name in same}
    assert [bool(row.get("headline")) for row in made["rows"]] == [
        row["variant"] == "best on dev" for row in made["rows"]
    ]


def test_the_headline_does_not_look_at_test():
    """The row with the better test score is not taken where dev likes the other better."""
    config, records = experiment(("fa",))
    records["select.7"] = select_record([0.5, 0.525, 0.7], 2)
    made = assembled(config, records)
    headline = made["rows"][-1]
    assert headline["setting"] == "causal-lm, factor, t=1"
    assert headline["accuracy"] == 17 / 40 < 25 / 40


def test_where_nothing_beats_t_the_headline_is_t():
    config, records = experiment(("fa",))
    for number in (6, 7):
        records[f"select.{number}"] = select_record([0.7, 0.7, 0.6], 0)
    headline = assembled(config, records)["rows"][-1]
    assert headline["strength"] == 0
    assert headline["setting"].endswith("t=0")


def test_no_gap_is_closed_where_there_is_none():
    config, records = experiment(("fa",))
    records["test.2"] = test_record(20)
    assert all(row["gap_closed"] is None for row in assembled(config, records)["rows"])


def test_what_is_said_of_the_whole(made):
    assert (made["n_test"], made["chance"], made["majority"]) == (N, 0.125, 0.275)
    assert made["source"]["accuracy"] == 33 / N
    assert made["targets"] == ["fa", "tr"]
    for target in made["targets"]:
        for name, alignment in ALIGNMENTS.items():
            assert made["geometry"][target][name]["alignment"]["cosine"] == alignment


def test_the_records_are_left_as_they_were():
    config, records = experiment()
    before = copy.deepcopy((config, records))
    assembled(config, records)
    assert (config, records) == before


def test_a_missing_record_is_an_error():
    config, records = experiment()
    del records["test.3"]
    with pytest.raises(KeyError, match=r"test\.3"):
        assembled(config, records)
