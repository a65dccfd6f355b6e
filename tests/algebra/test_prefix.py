"""Prefix tuning: the paper's formula where it holds, and what stands in for it elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.algebra import Prefix, transferred
from adamergex.errors import InputError
from tests.support.operands import NAMESPACES, array, as_numpy, scales

pytestmark = pytest.mark.parametrize("xp", NAMESPACES.values(), ids=NAMESPACES)

seeds = st.integers(0, 2**32 - 1)


def conditioned(rng, tokens, dim, rank=None):
    """A random matrix of a given rank whose singular values lie in [1, 2]."""
    rank = min(tokens, dim) if rank is None else rank
    u = np.linalg.qr(rng.normal(size=(tokens, tokens)))[0][:, :rank]
    v = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:, :rank]
    return (u * rng.uniform(1, 2, size=rank)) @ v.T


def merged(xp, t, rt, rs, scale):
    t, rt, rs = (array(xp, x) for x in (t, rt, rs))
    return as_numpy(
        transferred(Prefix(), task=t, reference_target=rt, reference_source=rs, scale=scale)
    )


@given(seed=seeds, tokens=st.integers(1, 5), extra=st.integers(0, 4), scale=scales)
def test_full_row_rank_gives_the_printed_formula(xp, seed, tokens, extra, scale):
    rng = np.random.default_rng(seed)
    t, rt = (rng.normal(size=(tokens, tokens + extra)) for _ in range(2))
    rs = conditioned(rng, tokens, tokens + extra)
    eye = np.eye(tokens)
    wanted = (scale * (rt @ np.linalg.pinv(rs) - eye) + eye) @ t
    np.testing.assert_allclose(merged(xp, t, rt, rs, scale), wanted, atol=1e-10)


@given(seed=seeds, tokens=st.integers(2, 6), dim=st.integers(2, 6), scale=scales)
def test_equal_references_give_the_task_without_full_rank(xp, seed, tokens, dim, scale):
    rng = np.random.default_rng(seed)
    t, rs = rng.normal(size=(tokens, dim)), conditioned(rng, tokens, dim, rank=1)
    np.testing.assert_array_equal(merged(xp, t, rs, rs, scale), t)


def test_the_printed_formula_would_change_the_task_there(xp):
    """Why the divergence is not computed as printed: P_Rs P_Rs⁺ is a projection, not I."""
    rng = np.random.default_rng(0)
    t, rs = rng.normal(size=(4, 3)), conditioned(rng, 4, 3, rank=2)
    printed = (rs @ np.linalg.pinv(rs, rcond=1e-5)) @ t
    assert np.linalg.norm(printed - t) > 0.1
    np.testing.assert_array_equal(merged(xp, t, rs, rs, 1.0), t)


@given(seed=seeds, tokens=st.integers(2, 5), dim=st.integers(2, 5), data=st.data())
def test_the_source_becomes_a_target_inside_its_row_space(xp, seed, tokens, dim, data):
    rng = np.random.default_rng(seed)
    rs = conditioned(rng, tokens, dim, rank=data.draw(st.integers(1, min(tokens, dim))))
    rt = rng.normal(size=(tokens, tokens)) @ rs
    np.testing.assert_allclose(merged(xp, rs, rt, rs, 1.0), rt, atol=1e-9)


@given(seed=seeds)
def test_outside_that_row_space_only_the_projection_arrives(xp, seed):
    rng = np.random.default_rng(seed)
    rs, rt = conditioned(rng, 2, 5), rng.normal(size=(2, 5))
    projection = rt @ np.linalg.pinv(rs) @ rs
    found = merged(xp, rs, rt, rs, 1.0)
    np.testing.assert_allclose(found, projection, atol=1e-10)
    # Five dimensions, two of them spanned: a random target always has a part outside.
    assert np.linalg.norm(found - rt) > 1e-6


def test_a_stack_is_merged_matrix_by_matrix(xp):
    rng = np.random.default_rng(0)
    t, rt, rs = (rng.normal(size=(3, 2, 4, 6)) for _ in range(3))
    stack = merged(xp, t, rt, rs, 0.7)
    for i, j in np.ndindex(3, 2):
        np.testing.assert_allclose(
            stack[i, j], merged(xp, t[i, j], rt[i, j], rs[i, j], 0.7), atol=1e-10
        )


def test_singular_values_below_rcond_count_as_zero(xp):
    source, target = np.diag([1.0, 1e-7]), np.diag([2.0, 2e-7])
    divergence = Prefix().difference(array(xp, target), array(xp, source))
    np.testing.assert_allclose(as_numpy(divergence), np.diag([1.0, 0.0]), atol=1e-6)


def test_a_vector_is_no_prefix(xp):
    with pytest.raises(InputError, match="tokens, dim"):
        Prefix().difference(array(xp, np.ones(3)), array(xp, np.ones(3)))


def test_different_numbers_of_virtual_tokens_are_refused(xp):
    divergence = Prefix().difference(array(xp, np.eye(3)), array(xp, np.eye(3)))
    with pytest.raises(InputError, match="3 virtual tokens"):
        Prefix().applied(divergence, array(xp, np.ones((2, 3))))
