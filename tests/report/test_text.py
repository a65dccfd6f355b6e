"""The words: verdicts, how settings were chosen, what the numbers mean."""

import pytest

from adamergex.report import text
from adamergex.report.reading import checked
from tests.support.results import named, results, row_of


def verdict(found, task="sib200", target="swh_Latn"):
    read = checked(found)
    return text.verdict(read, next(t for t in read.tasks if t.task == task), target)


def headline(found):
    return row_of(found, "adamergex", "best on dev")


@pytest.mark.parametrize(
    ("low", "high", "higher", "says"),
    [
        (0.01, 0.09, True, "is better than"),
        (-0.09, -0.01, True, "is worse than"),
        (-0.01, 0.09, True, "cannot be told apart from"),
        (0.0, 0.09, True, "cannot be told apart from"),
        (0.01, 0.09, False, "is worse than"),
        (-0.09, -0.01, False, "is better than"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_metric(low, high, higher, says):
    found = results()
    named(found)["higher_is_better"] = higher
    headline(found)["versus_source_ft"] = {"difference": 0.05, "low": low, "high": high}
    sentence = verdict(found)
    start = f"Swahili: AdaMergeX (translation, weight, t=0.5) {says} source fine-tuning (+0.050 ["
    assert sentence.startswith(start)


def test_the_best_rival_has_no_labels_of_the_target_and_is_no_merge_of_ours():
    found = results()
    assert verdict(found).endswith(
        "the best rival on test is projection (parallel text) at 0.534 ± 0.034."
    )
    row_of(found, "adamergex", "translation, weight")["score"] = 0.99
    row_of(found, "target-ft", "oracle")["score"] = 0.99
    assert "is projection (parallel text)" in verdict(found)
    named(found)["higher_is_better"] = False
    assert "is zero-shot at 0.196" in verdict(found)


def test_without_source_ft_nothing_is_said_of_it():
    found = results()
    task = named(found)
    task["rows"] = [row for row in task["rows"] if row["method"] != "source-ft"]
    for row in task["rows"]:
        row["versus_source_ft"] = row["gap_closed"] = None
    sentence = verdict(found)
    assert "scores 0.500 ± 0.034, compared with no source fine-tuning" in sentence
    assert "interval" not in " ".join(text.caveats(checked(found), checked(found).tasks[0]))


def test_without_a_row_to_deploy_there_is_a_best_one_still():
    found = results()
    headline(found)["headline"] = False
    assert verdict(found) == (
        "Swahili: no row is marked as the one to deploy; "
        "the best other row on test is projection (parallel text) at 0.534 ± 0.034."
    )
    named(found)["rows"] = []
    assert verdict(found) == "Swahili: no row is marked as the one to deploy."


def test_settings_of_seeds_that_differ_are_all_told():
    assert "(seed 0: t=0.5; seed 1: t=1) is worse" in verdict(results(), "answers", "yor_Latn")
    found = results()
    row_of(found, "projection", "parallel text")["runs"][1]["setting"] = "t=1"
    assert text.settings(checked(found).tasks[0].rows[3]) == "seed 0: none; seed 1: t=1"


@pytest.mark.parametrize(
    ("recipe", "heading", "words"),
    [
        ({"scale": {"select": "dev"}}, "chosen on dev", "labelled dev items"),
        ({"scale": {"select": "unlabelled"}}, "chosen without labels", "without any label"),
        ({"scale": {"select": "fixed"}}, "fixed setting", "fixed in the recipe"),
        ({"scale": {"select": ["dev"]}}, "setting", "does not say"),
        ({"scale": 1.0}, "setting", "does not say"),
        ({}, "setting", "does not say"),
    ],
)
def test_how_settings_were_chosen(recipe, heading, words):
    found = checked({**results(), "recipe": recipe})
    assert text.selection(found).heading == heading
    assert words in " ".join(text.caveats(found, found.tasks[0]))


def test_one_seed_does_not_speak_of_deviation():
    several, one = (checked(results(seeds=seeds)) for seeds in ((0, 1), (0,)))
    assert "means over 2 seeds" in " ".join(text.caveats(several, several.tasks[0]))
    words = " ".join(text.caveats(one, one.tasks[0]))
    assert "One seed" in words
    assert "(sd)" not in words


def test_numbers():
    row = checked(results()).tasks[0].rows[0]
    assert text.score(row) == "0.196 ± 0.034"
    assert text.score(row.model_copy(update={"standard_error": None})) == "0.196"
    assert text.number(12.3456) == "12.346"
    assert len(text.number(1e300)) < 12
    assert text.difference(row.versus_source_ft) == "-0.270 [-0.343, -0.196]"
    assert text.difference(None) == ""
    assert text.gap(row) == ""  # it has no labels at all: a share means nothing
    assert text.gap(checked(results()).tasks[0].rows[3]) == "43%"


def test_what_was_run_is_told_as_far_as_it_is_known():
    found = results()
    assert text.facts(checked(found)) == [
        "google/gemma-3-270m",
        "lora",
        "English to Swahili, Yoruba",
        "2 seeds",
    ]
    found |= {"recipe": {"adapter": 3}, "seeds": [7], "languages": {}}
    assert text.facts(checked(found)) == ["eng_Latn to swh_Latn, yor_Latn", "1 seed"]


def test_a_verdict_goes_by_p_after_correction():
    found = results()
    ours = headline(found)
    ours["versus_source_ft"] = {
        "difference": 0.05, "low": 0.01, "high": 0.09, "p": 0.02, "p_holm": 0.04,
    }  # fmt: skip
    assert "is better than source fine-tuning (+0.050 [+0.010, +0.090]; p 0.040)" in verdict(found)
    ours["versus_source_ft"]["p_holm"] = 0.08
    assert "cannot be told apart" in verdict(found)
    ours["versus_source_ft"] |= {"p_holm": 0.0, "difference": -0.05, "low": -0.09, "high": -0.01}
    assert "is worse" in verdict(found)


def test_what_intervals_are_of_is_told():
    found = results()
    told = " ".join(text.caveats(checked(found), checked(found).tasks[0]))
    assert "nothing about another training run" in told
    assert "not corrected" in told
    for row in named(found)["rows"]:
        if row["versus_source_ft"]:
            row["versus_source_ft"] |= {"p": 0.5, "p_holm": 1.0}
    told = " ".join(text.caveats(checked(found), checked(found).tasks[0]))
    assert "how far other seeds and items could move the difference." in told
    assert "Holm's correction" in told


def test_the_share_of_the_gain_stands_with_its_interval():
    found = results()
    row = headline(found)
    row |= {"gap_closed": 0.215, "gap_interval": [-0.05, 0.5]}
    (ours,) = (r for r in checked(found).tasks[0].of("swh_Latn") if r.headline)
    assert text.gap(ours) == "22% [-5, 50]"


def test_what_learns_from_t_is_not_called_adamergex():
    found = results()
    row = headline(found)
    found["recipe"]["reference"] = [
        {"task": "causal-lm"}, {"task": "distillation", "name": "ours"}, {"task": "translation"},
    ]  # fmt: skip
    assert verdict(found).startswith("Swahili: AdaMergeX (translation")
    row["variant"] = "ours, factor"
    assert verdict(found).startswith("Swahili: distillation (")
    row["variant"] = "best of these"
    row["runs"][0]["setting"] = "ours, factor, t=1"
    assert verdict(found).startswith("Swahili: distillation (seed 0: ours")
