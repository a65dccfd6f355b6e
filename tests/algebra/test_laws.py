"""What must hold for every structure, on NumPy and on PyTorch arrays alike."""

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamergex.algebra import LowRank, transferred
from adamergex.errors import InputError
from tests.support.operands import (
    CASES,
    DTYPES,
    NAMESPACES,
    TOLERANCE,
    UNGUARDED,
    as_numpy,
    dense,
    operand,
    parts,
    scales,
)

pytestmark = pytest.mark.parametrize("xp", NAMESPACES.values(), ids=NAMESPACES)

every_structure = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def result(case, t, rt, rs, scale):
    return transferred(
        case.structure, task=t, reference_target=rt, reference_source=rs, scale=scale
    )


def close(found, wanted, dtype, size=1.0):
    """Equal up to rounding of terms as large as `size` times the largest value."""
    largest = max(1.0, float(np.abs(wanted).max(initial=0.0)), size)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * largest)


@every_structure
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_scale_zero_gives_the_task(xp, case, data, dtype):
    t, rt, rs = (operand(xp, x, dtype) for x in data.draw(case.triples()))
    np.testing.assert_array_equal(dense(result(case, t, rt, rs, 0.0)), dense(t))


@every_structure
@given(data=st.data(), dtype=st.sampled_from(DTYPES), scale=scales)
def test_equal_references_give_the_task_at_every_scale(xp, case, data, dtype, scale):
    task, reference, _ = data.draw(case.triples())
    t, rt, rs = (operand(xp, x, dtype) for x in (task, reference, reference))
    # In weight space the two references cancel in a sum, all others cancel before it.
    size = abs(scale) * float(np.prod([np.abs(x).sum() for x in reference]))
    close(dense(result(case, t, rt, rs, scale)), dense(t), dtype, size)


@pytest.mark.parametrize("case", UNGUARDED.values(), ids=UNGUARDED)
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_the_source_reference_becomes_the_target_reference(xp, case, data, dtype):
    _, target, source = data.draw(case.triples())
    t, rt, rs = (operand(xp, x, dtype) for x in (source, target, source))
    size = float(np.prod([np.abs(x).sum() for x in source]))
    close(dense(result(case, t, rt, rs, 1.0)), dense(rt), dtype, size)


@every_structure
@given(data=st.data(), dtype=st.sampled_from(DTYPES), scale=scales)
def test_no_operand_is_changed(xp, case, data, dtype, scale):
    operands = [operand(xp, x, dtype) for x in data.draw(case.triples())]
    before = [as_numpy(x).copy() for o in operands for x in parts(o)]
    result(case, *operands, scale)
    after = [as_numpy(x) for o in operands for x in parts(o)]
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(x, y)


@every_structure
@given(data=st.data(), dtype=st.sampled_from(DTYPES), scale=scales)
def test_the_result_keeps_the_library_and_the_dtype(xp, case, data, dtype, scale):
    operands = [operand(xp, x, dtype) for x in data.draw(case.triples())]
    for x in parts(result(case, *operands, scale)):
        assert type(x) is type(parts(operands[0])[0])
        assert x.dtype == getattr(xp, dtype)


@every_structure
@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(3), ids=["T", "Rt", "Rs"])
def test_an_operand_that_is_not_finite_is_refused(xp, case, which, bad, scale):
    for broken in range(2 if case is CASES["weight-space"] else 1):
        shapes = [(3, 2), (2, 3)] if case is CASES["weight-space"] else [(3, 3)]
        raw = [[np.ones(s) for s in shapes] for _ in range(3)]
        raw[which][broken][0, 0] = bad
        with pytest.raises(InputError, match="NaN or infinity"):
            result(case, *(operand(xp, x, "float32") for x in raw), scale)


@every_structure
@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_a_scale_that_is_not_finite_is_refused(xp, case, scale):
    shapes = [(3, 2), (2, 3)] if case is CASES["weight-space"] else [(3, 3)]
    operands = [operand(xp, [np.ones(s) for s in shapes], "float32") for _ in range(3)]
    with pytest.raises(InputError, match="scale"):
        result(case, *operands, scale)


def halves(xp, seed):
    """Two copies of random matrices: in half precision, and the same values in float32."""
    rng = np.random.default_rng(seed)
    raw = [rng.normal(1.0, 0.3, size=(4, 4)).astype(np.float32) for _ in range(6)]
    if xp is NAMESPACES["torch"]:
        for dtype in (torch.bfloat16, torch.float16):
            half = [torch.tensor(x).to(dtype) for x in raw]
            yield half, [x.float() for x in half]
    else:
        for dtype in (ml_dtypes.bfloat16, np.float16):
            half = [x.astype(dtype) for x in raw]
            yield half, [x.astype(np.float32) for x in half]


def paired(case, arrays):
    """Three operands from six square matrices."""
    if case is CASES["weight-space"]:
        return [LowRank(arrays[2 * i], arrays[2 * i + 1]) for i in range(3)]
    return arrays[:3]


@every_structure
def test_half_precision_accumulates_in_float32(xp, case):
    for half, single in halves(xp, seed=0):
        found = result(case, *paired(case, half), 0.3)
        wanted = result(case, *paired(case, single), 0.3)
        assert all(x.dtype == xp.float32 for x in parts(found))
        np.testing.assert_array_equal(dense(found), dense(wanted))


def test_shapes_that_do_not_fit_are_refused(xp):
    square, wide = [np.ones((3, 3))], [np.ones((3, 4))]
    for name in ("additive", "multiplicative", "geometric", "prefix"):
        t, other = (operand(xp, x, "float32") for x in (square, wide))
        with pytest.raises(InputError):
            result(CASES[name], t, t, other, 1.0)
    with pytest.raises(InputError):
        result(CASES["additive"], operand(xp, wide, "float32"), t, t, 1.0)
