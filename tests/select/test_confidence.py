"""What answers say without labels: bounds, symmetries, and the two cases that matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.select import confidence

logs = st.lists(
    st.lists(st.floats(-30, 0), min_size=3, max_size=3), min_size=1, max_size=12
)  # fmt: skip


@given(logs)
def test_it_is_between_0_and_the_logarithm_of_the_choices(rows):
    assert -1e-9 <= confidence(rows) <= math.log(3) + 1e-9


@given(logs, st.floats(-50, 50))
def test_a_constant_for_a_question_says_nothing(rows, shift):
    moved = [[x + shift for x in row] for row in rows]
    assert confidence(moved) == pytest.approx(confidence(rows), abs=1e-9)


@given(logs)
def test_it_is_the_mutual_information_of_question_and_answer(rows):
    p = np.exp(np.array(rows))
    joint = p / p.sum(1, keepdims=True) / len(p)
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    wanted = (joint * np.log(joint / product)).sum()
    assert confidence(rows) == pytest.approx(wanted, abs=1e-9)


def test_sure_and_varied_is_best_and_always_the_same_is_worth_nothing():
    sure = [[0.0, -99.0], [-99.0, 0.0]]
    assert confidence(sure) == pytest.approx(math.log(2))
    assert confidence([sure[0]] * 5) == pytest.approx(0)
    assert confidence([[-1.0, -1.0]] * 5) == pytest.approx(0)


def test_questions_may_have_fewer_choices():
    assert confidence([[0.0, -99.0, -99.0], [-99.0, 0.0]]) == pytest.approx(math.log(2))
