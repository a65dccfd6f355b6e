"""Standard errors and intervals against NumPy and the normal approximation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adamergex.score import mean, standard_error
from adamergex.score.statistics import (
    holm,
    interval_over,
    ratio_interval,
    standard_error_over,
)

outcomes = st.lists(st.one_of(st.booleans(), st.floats(0, 1)), min_size=2, max_size=60)


def drawn(n, p, seed):
    return (np.random.default_rng(seed).random(n) < p).tolist()


@given(outcomes)
def test_the_mean_and_its_standard_error(correct):
    """SciPy's; abs: of equal items, roundings are left."""
    assert mean(correct) == pytest.approx(np.mean(correct), rel=1e-12)
    wanted = stats.sem(np.array(correct, float))
    assert standard_error(correct) == pytest.approx(wanted, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_standard_error_is_the_spread_of_means(p):
    """Of 4,000 tests of 100 items each, drawn anew: that is what the word promises."""
    tests = np.random.default_rng(0).random((4000, 100)) < p
    promised = math.sqrt(np.mean([standard_error(values) ** 2 for values in tests.astype(float)]))
    assert promised == pytest.approx(tests.mean(axis=1).std(), rel=0.04)


def test_one_item_has_no_standard_error():
    assert standard_error([True]) is None


def crossed(rng, seeds, items, between, shared=0.6):
    """Outcomes with effects of seeds, of items, and a rest; the mean over items has variance 1.

    Args:
        rng: Draws them.
        seeds: How many.
        items: How many.
        between: The standard deviation of the mean over seeds.
        shared: The items' share of the rest of the variance.
    """
    return (
        rng.normal(0, between * seeds**0.5, (seeds, 1))
        + rng.normal(0, (shared * items) ** 0.5, (1, items))
        + rng.normal(0, ((1 - shared) * items * seeds) ** 0.5, (seeds, items))
    )


@pytest.mark.parametrize(
    ("seeds", "between"),
    [(1, 0.0), *((seeds, between) for seeds in (2, 3, 5) for between in (0.0, 0.5, 1.0, 4.0))],
)
def test_intervals_cover_the_truth(seeds, between):
    """0 is the truth, in 95% or some more, of 600 experiments whose seeds and items are drawn.

    Three standard errors of slack below. Where items alone vary the interval is too wide, by what
    keeps it wide enough elsewhere. An interval over items alone covers 24% in the worst of cases.
    """
    rng = np.random.default_rng(seeds)
    found = [interval_over([crossed(rng, seeds, 50, between)]) for _ in range(600)]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.95 - 3 * 0.0089 <= covered <= 0.999
    # p and the interval say the same.
    assert all((one.p >= 0.05) == (one.low <= 0 <= one.high) for one in found)


def test_intervals_over_languages_cover_the_truth():
    """Two of the same items, one of others; the seeds' effect is the same in all."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(400):
        effect = rng.normal(0, 1.5, (3, 1))
        one = crossed(rng, 3, 40, 0)
        groups = [one + effect, one + effect, crossed(rng, 3, 25, 0) + effect]
        found = interval_over(groups)
        covered += found.low <= 0 <= found.high
    assert 0.95 - 3 * 0.011 <= covered / 400 <= 0.999


@pytest.mark.parametrize(("p", "q"), [(0.6, 0.5), (0.3, 0.3), (0.4, 0.7)])
def test_of_one_seed_it_is_students_interval_of_the_pairs(p, q):
    ours, theirs = np.array(drawn(400, p, 1), float), np.array(drawn(400, q, 2), float)
    found, wanted = interval_over([[ours - theirs]]), stats.ttest_rel(ours, theirs)
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-11)


def test_where_only_seeds_differ_it_is_students_interval_of_them():
    scores = np.array([0.1, 0.25, 0.15])
    found = interval_over([np.repeat(scores[:, None], 30, axis=1)])
    wanted = stats.ttest_1samp(scores, 0)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.p == pytest.approx(wanted.pvalue)


@given(outcomes)
def test_identical_systems_do_not_differ(correct):
    found = interval_over([[np.zeros(len(correct))]])
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_item_has_no_interval():
    assert interval_over([[[1.0]], [[0.0, 1.0]]]) is None


@given(outcomes, st.integers(1, 4))
def test_copies_of_a_group_say_no_more_than_one(values, copies):
    """As when a language is counted twice: the same items, drawn together."""
    one, several = interval_over([[values]]), interval_over([[values]] * copies)
    assert (several.low, several.high) == pytest.approx((one.low, one.high), abs=1e-12)
    assert standard_error_over([values] * copies) == pytest.approx(standard_error(values))


def test_items_that_groups_share_are_taken_together():
    """What one language gains on each item the other loses: their mean does not vary at all."""
    one = np.array([drawn(300, 0.5, 0)], float)
    found = interval_over([one, 1 - one])
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_the_interval_of_a_ratio_covers_it():
    """A third, of a gain that is sure: 95% of 400 experiments, three standard errors of slack."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        under, own = crossed(rng, 4, 30, 0.5) + 9, crossed(rng, 4, 30, 0.5)
        low, high = ratio_interval([under / 3 + own], [under])
        covered += low <= 1 / 3 <= high
    assert 0.95 - 3 * 0.011 <= covered / 400 <= 0.999


def test_a_ratio_to_what_may_be_nothing_has_no_interval():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (3, 40))
    assert ratio_interval([noise + 1], [noise - noise.mean() + 0.01]) is None


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_its_steps_reject(values):
    """Below a level are those that the step-down procedure rejects at it."""
    corrected = holm(values)
    assert all(c >= p for c, p in zip(corrected, values, strict=True))
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for place, i in enumerate(np.argsort(values, kind="stable").tolist()):
            if values[i] * (len(values) - place) >= level:
                break
            rejected.add(i)
        assert rejected == {i for i, c in enumerate(corrected) if c < level}


def test_a_group_of_one_item_has_no_standard_error():
    assert standard_error_over([[1.0], [0.0, 1.0]]) is None
