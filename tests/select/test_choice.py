"""What must hold of every choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.select import Candidate, chosen

# Few values, so that ties are common.
scores = st.sampled_from([0.0, 0.25, 0.5, 0.75])
scales = st.sampled_from([-1.0, -0.5, 0.25, 0.5, 1.0])
others = st.builds(Candidate, scale=scales, score=scores)


@st.composite
def running(draw):
    """Candidates in any order, at least one of them the task adapter."""
    alone = st.builds(Candidate, scale=st.just(0.0), score=scores)
    found = draw(st.lists(others, max_size=6)) + draw(st.lists(alone, min_size=1, max_size=2))
    return draw(st.permutations(found))


@given(running())
def test_the_highest_score_wins(candidates):
    best = candidates[chosen(candidates)]
    assert best.score == max(c.score for c in candidates)


@given(running())
def test_of_equals_the_weakest_wins(candidates):
    best = candidates[chosen(candidates)]
    equals = [abs(c.scale) for c in candidates if c.score == best.score]
    assert abs(best.scale) == min(equals)


@given(running(), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(candidates, random):
    shuffled = random.sample(candidates, len(candidates))
    one, other = candidates[chosen(candidates)], shuffled[chosen(shuffled)]
    assert (one.score, abs(one.scale)) == (other.score, abs(other.scale))


@given(running())
def test_a_merge_that_does_not_help_is_not_chosen(candidates):
    task = max(c.score for c in candidates if c.scale == 0)
    if all(c.score <= task for c in candidates):
        assert candidates[chosen(candidates)].scale == 0


@given(st.lists(others, max_size=5))
def test_the_task_adapter_must_be_in_the_running(candidates):
    with pytest.raises(InputError, match="scale 0"):
        chosen(candidates)
