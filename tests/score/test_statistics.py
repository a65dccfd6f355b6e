"""Standard errors and intervals against NumPy and the normal approximation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.score import mean, paired_bootstrap, standard_error

outcomes = st.lists(st.one_of(st.booleans(), st.floats(0, 1)), min_size=2, max_size=60)


def drawn(n, p, seed):
    return (np.random.default_rng(seed).random(n) < p).tolist()


@given(outcomes)
def test_the_mean_and_its_standard_error(correct):
    values = np.array(correct, float)
    assert mean(correct) == pytest.approx(values.mean(), rel=1e-12)
    wanted = values.std(ddof=1) / math.sqrt(len(values))
    assert standard_error(correct) == pytest.approx(wanted, rel=1e-9, abs=1e-15)


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
