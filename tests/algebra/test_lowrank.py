"""LoRA products in weight space against dense matrices that NumPy multiplies out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.algebra import LowRank, WeightSpace, concatenated, inner, transferred, truncated
from adamergex.errors import InputError
from tests.support.operands import CASES, NAMESPACES, array, as_numpy, dense, operand, scales

pytestmark = pytest.mark.parametrize("xp", NAMESPACES.values(), ids=NAMESPACES)

triples = CASES["weight-space"].triples()
ranks = st.integers(1, 8)


def random_product(xp, rng, m, n, r, dtype="float64"):
    return operand(xp, [rng.normal(size=(m, r)), rng.normal(size=(r, n))], dtype)


def size_of(*terms):
    """An upper bound of every partial sum, for tolerances."""
    return 1.0 + sum(
        float(np.abs(as_numpy(x.b)).sum() * np.abs(as_numpy(x.a)).max()) for x in terms
    )


@given(triple=triples, scale=scales)
def test_weight_space_is_the_dense_sum(xp, triple, scale):
    t, rt, rs = (operand(xp, x, "float64") for x in triple)
    made = transferred(WeightSpace(), task=t, reference_target=rt, reference_source=rs, scale=scale)
    (b_t, a_t), (b_rt, a_rt), (b_rs, a_rs) = triple
    wanted = b_t @ a_t + scale * (b_rt @ a_rt - b_rs @ a_rs)
    np.testing.assert_allclose(dense(made), wanted, rtol=0, atol=1e-11 * size_of(t, rt, rs))
    assert made.rank == (t.rank if scale == 0 else t.rank + rt.rank + rs.rank)


@given(triple=triples)
def test_the_order_of_concatenation_does_not_matter(xp, triple):
    terms = [operand(xp, x, "float64") for x in triple]
    first = dense(concatenated(*terms))
    for order in itertools.permutations(terms):
        np.testing.assert_allclose(
            dense(concatenated(*order)), first, rtol=0, atol=1e-12 * size_of(*terms)
        )


@given(triple=triples, rank=ranks)
def test_truncation_is_optimal(xp, triple, rank):
    whole = concatenated(*(operand(xp, x, "float64") for x in triple))
    values = np.linalg.svd(dense(whole), compute_uv=False)
    least = float(np.sqrt((values[rank:] ** 2).sum()))
    cut = truncated(whole, rank)
    tolerance = 1e-10 * size_of(whole)
    assert cut.lost == pytest.approx(least, abs=tolerance)
    assert cut.norm == pytest.approx(float(np.linalg.norm(dense(whole))), abs=tolerance)
    off = float(np.linalg.norm(dense(whole) - dense(cut.product)))
    assert off == pytest.approx(least, abs=tolerance)
    assert cut.product.rank == rank


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_truncation_is_the_nearest_matrix_itself(xp, rank):
    """With distinct singular values the best approximation is unique: compare it, not its error."""
    whole = random_product(xp, np.random.default_rng(rank), 7, 9, 6)
    u, s, vt = np.linalg.svd(dense(whole), full_matrices=False)
    nearest = (u[:, :rank] * s[:rank]) @ vt[:rank]
    np.testing.assert_allclose(dense(truncated(whole, rank).product), nearest, atol=1e-10)


def test_truncation_shares_the_singular_values_between_both_factors(xp):
    cut = truncated(random_product(xp, np.random.default_rng(0), 7, 9, 6), 3).product
    b, a = as_numpy(cut.b), as_numpy(cut.a)
    np.testing.assert_allclose(np.linalg.norm(b, axis=0), np.linalg.norm(a, axis=1), rtol=1e-10)


def test_relative_error_of_a_zero_matrix_is_zero(xp):
    zero = operand(xp, [np.zeros((3, 2)), np.zeros((2, 4))], "float32")
    assert truncated(zero, 1).error == 0.0


def test_relative_error_of_a_known_matrix(xp):
    """diag(4, 3) cut to rank 1 loses 3 of 5."""
    known = operand(xp, [np.diag([4.0, 3.0]), np.eye(2)], "float64")
    assert truncated(known, 1).error == pytest.approx(0.6)


def test_rank_below_one_is_refused(xp):
    with pytest.raises(InputError, match="rank"):
        truncated(random_product(xp, np.random.default_rng(0), 3, 3, 2), 0)


def test_truncation_beyond_the_rank_is_lossless(xp):
    whole = random_product(xp, np.random.default_rng(0), 4, 3, 2)
    cut = truncated(whole, 9)
    assert (cut.product.b.shape, cut.product.a.shape) == ((4, 9), (9, 3))
    np.testing.assert_allclose(dense(cut.product), dense(whole), atol=1e-12)


@given(triple=triples, extra=st.integers(0, 5))
def test_padding_keeps_the_product(xp, triple, extra):
    x = operand(xp, triple[0], "float32")
    padded = x.padded(x.rank + extra)
    assert padded.rank == x.rank + extra
    np.testing.assert_array_equal(dense(padded), dense(x))


def test_padding_to_a_smaller_rank_is_refused(xp):
    with pytest.raises(InputError, match="3 or more"):
        random_product(xp, np.random.default_rng(0), 4, 4, 3).padded(2)


@given(triple=triples)
def test_inner_is_the_frobenius_product(xp, triple):
    x, y = operand(xp, triple[0], "float64"), operand(xp, triple[1], "float64")
    wanted = float((dense(x) * dense(y)).sum())
    assert inner(x, y) == pytest.approx(wanted, rel=1e-12, abs=1e-9)
    assert inner(x, x) == pytest.approx(np.linalg.norm(dense(x)) ** 2, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("function", [lambda x: truncated(x, 1), lambda x: inner(x, x)])
def test_nan_in_a_factor_is_refused(xp, function):
    with pytest.raises(InputError, match="NaN or infinity"):
        function(operand(xp, [np.full((2, 1), np.nan), np.ones((1, 2))], "float32"))


def test_factors_that_do_not_multiply_are_refused(xp):
    for b, a in [((3, 2), (3, 4)), ((3,), (3, 4)), ((3, 2, 1), (2, 4))]:
        with pytest.raises(InputError, match="low-rank factors"):
            LowRank(array(xp, np.ones(b)), array(xp, np.ones(a)))


def test_products_of_different_shapes_are_not_added(xp):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="low-rank product"):
        concatenated(random_product(xp, rng, 3, 4, 2), random_product(xp, rng, 4, 3, 2))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_factors_of_one_dtype_stay_in_it_and_others_are_widened(xp, dtype):
    def one(kind, r):
        return random_product(xp, np.random.default_rng(r), 5, 4, r, kind)

    alike = concatenated(one(dtype, 2), one(dtype, 3))
    assert alike.b.dtype == alike.a.dtype == getattr(xp, dtype)
    mixed = concatenated(one(dtype, 2), one("float32", 3))
    assert mixed.b.dtype == (xp.float64 if dtype == "float64" else xp.float32)
    added = WeightSpace().applied(one(dtype, 2), one(dtype, 3))
    assert added.a.dtype == mixed.a.dtype


def test_shape_and_dense(xp):
    x = random_product(xp, np.random.default_rng(0), 3, 5, 2)
    assert x.shape == (3, 5)
    np.testing.assert_allclose(as_numpy(x.dense()), dense(x), atol=1e-12)
