"""Standard errors and intervals against NumPy and the normal approximation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adamergex.score import mean, paired_bootstrap, standard_error
from adamergex.score.statistics import bootstrap_over, standard_error_over

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


@pytest.mark.parametrize(("p", "q"), [(0.6, 0.5), (0.3, 0.3), (0.4, 0.7)])
def test_the_interval_is_near_the_normal_one(p, q):
    """Half a standard error of slack: percentiles of 10,000 resamples are good to a twentieth."""
    ours, theirs = drawn(400, p, 1), drawn(400, q, 2)
    difference, low, high = paired_bootstrap(ours, theirs)
    paired = np.array(ours, float) - np.array(theirs, float)
    error = paired.std(ddof=1) / math.sqrt(400)
    assert difference == pytest.approx(paired.mean(), rel=1e-12)
    assert low == pytest.approx(paired.mean() - 1.96 * error, abs=error / 5)
    assert high == pytest.approx(paired.mean() + 1.96 * error, abs=error / 5)


def test_items_are_drawn_in_pairs():
    """Two systems that fail on the same items differ by one item only: the interval is narrow."""
    hard = drawn(400, 0.5, 3)
    other = hard.copy()
    other[hard.index(False)] = True
    difference, low, high = paired_bootstrap(other, hard)
    assert difference == pytest.approx(1 / 400)
    assert 0 <= low <= difference <= high < 0.02
    # Drawn apart, the standard error alone would be sqrt(2) * 0.025.
    assert high - low < math.sqrt(2) * 0.025


@given(outcomes)
def test_identical_systems_do_not_differ(correct):
    assert paired_bootstrap(correct, correct, resamples=50) == (0.0, 0.0, 0.0)


@given(outcomes, st.integers(0, 5))
def test_the_same_seed_gives_the_same_interval(correct, seed):
    other = correct[::-1]
    one, two = (paired_bootstrap(correct, other, resamples=50, seed=seed) for _ in range(2))
    assert one == two
    assert one[1] <= one[2]


def test_swapping_the_systems_turns_the_interval_round():
    ours, theirs = drawn(200, 0.6, 4), drawn(200, 0.4, 5)
    there, back = paired_bootstrap(ours, theirs), paired_bootstrap(theirs, ours)
    np.testing.assert_allclose(there, [-back[0], -back[2], -back[1]], atol=1e-12)


@given(outcomes, st.integers(1, 4))
def test_copies_of_a_group_say_no_more_than_one(values, copies):
    """As when a language is counted twice: the same items, drawn together."""
    wanted = bootstrap_over([values], resamples=200)
    assert bootstrap_over([values] * copies, resamples=200) == pytest.approx(wanted)
    assert standard_error_over([values] * copies) == pytest.approx(standard_error(values))


@pytest.mark.parametrize("sizes", [(400, 400, 400), (400, 150, 60)])
def test_an_interval_over_groups_is_near_the_normal_one(sizes):
    """Independent groups, as many items as each other or not: the variances of means add up."""
    groups = [np.array(drawn(n, 0.3 + 0.2 * k, k), float) for k, n in enumerate(sizes)]
    means = [values.mean() for values in groups]
    error = math.hypot(*(x.std(ddof=1) / math.sqrt(len(x)) for x in groups)) / len(groups)
    found, low, high = bootstrap_over(groups)
    assert found == pytest.approx(np.mean(means))
    # Chance correlation of independent items moves the error of the first case by some percent.
    assert standard_error_over(groups) == pytest.approx(error, rel=0.1)
    assert low == pytest.approx(found - 1.96 * error, abs=error / 3)
    assert high == pytest.approx(found + 1.96 * error, abs=error / 3)


def test_items_that_groups_share_are_drawn_together():
    """What one language gains on each item the other loses: their mean does not vary at all."""
    one = np.array(drawn(300, 0.5, 0), float)
    opposite = 1 - one
    found, low, high = bootstrap_over([one, opposite])
    assert (found, low, high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_group_of_one_item_has_no_standard_error():
    assert standard_error_over([[1.0], [0.0, 1.0]]) is None
