"""The table of an experiment, against figures counted by hand from its records."""

import copy

import numpy as np
import pytest

from adamergex.run.results import assembled
from adamergex.score import paired_bootstrap
from tests.support.results import (
    ALIGNMENTS,
    EVERY_SETTING,
    HEADLINE,
    INIT,
    ROWS,
    N,
    experiment,
    select_record,
    test_record,
)


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
    for (method, variant, right, *_), row in zip(ROWS, rows_of(made, target), strict=True):
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
    assert (row["setting"], row["scale"]) == ("t=0.5", 0.5)
    assert [point["accuracy"] for point in row["dev"]] == [0.5, 0.625, 0.55]
    assert "setting" not in row_of(made, "fa", "source-ft")
    assert row_of(made, "fa", "arimerge", "translation")["scale"] == 0


def test_each_target_has_one_headline(made):
    for target in ("fa", "tr"):
        *others, headline = rows_of(made, target)
        assert headline["headline"] is True
        assert all(row["headline"] is False for row in others)
        best = row_of(made, target, "adamergex", "translation, weight")
        assert headline["setting"] == f"{best['variant']}, {best['setting']}"
        same = ("accuracy", "n", "scale", "versus_source_ft", "gap_closed")
        assert {name: headline[name] for name in same} == {name: best[name] for name in same}
        assert [point["label"] for point in headline["dev"]] == list(EVERY_SETTING)


def test_every_row_tells_which_steps_it_comes_from(made):
    """By that number the adapter that dev chose is found."""
    assert [row["step"] for row in made["rows"]] == list(range(2 * len(ROWS)))


def test_the_headline_is_what_its_own_steps_found():
    """No other row's score, be it on dev or on test, can put another in its place."""
    config, records = experiment(("fa",))
    records[f"select.{HEADLINE}"] = select_record([0.5, 0.5, 0.5, 0.5, 0.7], 4, EVERY_SETTING)
    records[f"test.{HEADLINE}"] = test_record(17)
    headline = assembled(config, records)["rows"][HEADLINE]
    assert (headline["setting"], headline["scale"]) == ("causal-lm, factor, t=1", 1)
    assert headline["accuracy"] == 17 / 40 < 25 / 40


def test_where_nothing_beats_t_the_headline_is_t():
    config, records = experiment(("fa",))
    records[f"select.{HEADLINE}"] = select_record([0.7, 0.7, 0.6, 0.7, 0.6], 0, EVERY_SETTING)
    records[f"test.{HEADLINE}"] = records["test.1"]
    headline = assembled(config, records)["rows"][HEADLINE]
    assert (headline["setting"], headline["scale"]) == ("t=0", 0)
    assert headline["versus_source_ft"] == {"difference": 0, "low": 0, "high": 0}
    assert headline["gap_closed"] == 0


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
            geometry = made["geometry"][target][name]
            assert geometry["alignment"]["cosine"] == alignment
            assert geometry["init_sha256"] == INIT


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
