"""(IA)³: where a ratio means nothing it is left at 1, counted, and never infinite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.algebra import Geometric, Multiplicative, transferred
from tests.support.operands import NAMESPACES, array, as_numpy, grid, scales

pytestmark = pytest.mark.parametrize("xp", NAMESPACES.values(), ids=NAMESPACES)


def merged(xp, rule, t, rt, rs, scale):
    t, rt, rs = (array(xp, np.asarray(x, dtype=np.float64)) for x in (t, rt, rs))
    return as_numpy(
        transferred(rule, task=t, reference_target=rt, reference_source=rs, scale=scale)
    )


@given(data=st.data(), scale=scales)
def test_linear_is_the_published_formula(xp, data, scale):
    t, rt, rs = (data.draw(grid((5,), lowest=1)) for _ in range(3))
    found = merged(xp, Multiplicative(), t, rt, rs, scale)
    np.testing.assert_allclose(found, t * (scale * (rt / rs - 1) + 1), rtol=1e-12, atol=1e-12)


@given(data=st.data(), scale=scales)
def test_geometric_is_a_power_of_the_ratio(xp, data, scale):
    t, rt, rs = (data.draw(grid((5,), lowest=1)) for _ in range(3))
    found = merged(xp, Geometric(), t, rt, rs, scale)
    np.testing.assert_allclose(found, t * (rt / rs) ** scale, rtol=1e-10)


def test_geometric_scales_add_up(xp):
    """Half a step twice is one step, which does not hold for the linear rule."""
    t, rt, rs = [1.5], [2.0], [0.5]
    once = merged(xp, Geometric(), t, rt, rs, 1.0)
    half = merged(xp, Geometric(), t, rt, rs, 0.5)
    np.testing.assert_allclose(merged(xp, Geometric(), half, rt, rs, 0.5), once)


@pytest.mark.parametrize("rule", [Multiplicative(), Geometric()], ids=["linear", "geometric"])
@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-30, -1e-4, 9.9e-4])
def test_a_source_near_zero_keeps_the_task(xp, rule, tiny):
    found = merged(xp, rule, [2.0, 2.0], [3.0, 3.0], [tiny, 1.0], 1.0)
    np.testing.assert_allclose(found, [2.0, 6.0])
    ratio = rule.difference(array(xp, np.array([3.0, 3.0])), array(xp, np.array([tiny, 1.0])))
    assert ratio.guarded == 1


def test_the_guard_itself_is_divided_by(xp):
    found = merged(xp, Multiplicative(guard=0.5), [1.0, 1.0], [2.0, 2.0], [0.5, 0.49], 1.0)
    np.testing.assert_allclose(found, [4.0, 1.0])


def test_linear_takes_opposite_signs(xp):
    np.testing.assert_allclose(merged(xp, Multiplicative(), [2.0], [-1.0], [1.0], 1.0), [-2.0])


def test_geometric_guards_opposite_signs_and_a_target_near_zero(xp):
    target, source = [-1.0, 1.0, 0.0, -2.0], [1.0, -1.0, 1.0, -1.0]
    found = merged(xp, Geometric(), [3.0] * 4, target, source, 0.5)
    np.testing.assert_allclose(found, [3.0, 3.0, 3.0, 3.0 * 2**0.5])
    ratio = Geometric().difference(array(xp, np.array(target)), array(xp, np.array(source)))
    assert ratio.guarded == 3


@pytest.mark.parametrize("rule", [Multiplicative(), Geometric()], ids=["linear", "geometric"])
@given(data=st.data(), scale=scales)
def test_the_count_survives_scaling(xp, rule, data, scale):
    rt, rs = (data.draw(grid((6,), -2, 2)) for _ in range(2))
    divergence = rule.difference(array(xp, rt), array(xp, rs))
    assert rule.scaled(divergence, scale).guarded == divergence.guarded
    assert divergence.guarded >= int((rs == 0).sum())
    assert np.isfinite(as_numpy(divergence.values)).all()
