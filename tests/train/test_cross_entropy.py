"""The loss and its gradient, made by parts of the vocabulary, beside torch's in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from adamergex.models import Head
from adamergex.train import loss
from adamergex.train.loss import summed_cross_entropy


def operands(n, width, vocabulary, seed, dtype=torch.float64, bias=False, **options):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, width, generator=generator, dtype=dtype, requires_grad=True)
    weight = 3 * torch.randn(vocabulary, width, generator=generator, dtype=dtype)
    added = torch.randn(vocabulary, generator=generator) if bias else None
    labels = torch.randint(0, vocabulary, (n,), generator=generator)
    return hidden, Head(weight, added, **options), labels


def by_torch(hidden, head, labels):
    logits = head.scale * functional.linear(hidden, head.weight)
    if head.bias is not None:
        logits = logits + head.scale * head.bias
    if head.cap is not None:
        logits = torch.tanh(logits / head.cap) * head.cap
    return functional.cross_entropy(logits, labels, reduction="sum")


HEADS = {
    "bias": st.booleans(),
    "scale": st.sampled_from([1.0, 0.0625, 2.5]),
    "cap": st.sampled_from([None, 5.0, 30.0]),
}


@given(
    n=st.integers(1, 9),
    width=st.integers(1, 5),
    vocabulary=st.integers(1, 11),
    at_once=st.integers(1, 4),
    factor=st.floats(-2, 2),
    seed=st.integers(0, 99),
    options=st.fixed_dictionaries(HEADS),
)
def test_value_and_gradient(n, width, vocabulary, at_once, factor, seed, options):
    hidden, head, labels = operands(n, width, vocabulary, seed, **options)
    usual, loss._TOKENS = loss._TOKENS, at_once
    try:
        found = summed_cross_entropy(hidden, head, labels)
        (gradient,) = torch.autograd.grad(factor * found, hidden)
    finally:
        loss._TOKENS = usual
    wanted = by_torch(hidden, head, labels)
    (expected,) = torch.autograd.grad(factor * wanted, hidden)
    # The logits go through float32, as they do in transformers.
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_logits_far_apart_do_not_overflow():
    hidden, head, labels = operands(4, 3, 7, 0, torch.float32)
    found = summed_cross_entropy(1e4 * hidden, head, labels)
    torch.testing.assert_close(found, by_torch(1e4 * hidden, head, labels))
    assert found > 1e3


def test_without_labels_it_is_zero():
    hidden, head, labels = operands(0, 3, 7, 0)
    found = summed_cross_entropy(hidden, head, labels)
    assert float(found.detach()) == 0.0
    (gradient,) = torch.autograd.grad(found, hidden)
    assert gradient.shape == (0, 3)


def test_within_autocast_the_products_are_in_bfloat16():
    hidden, head, labels = operands(6, 64, 50, 0, torch.float32)
    weight = head.weight
    wanted = summed_cross_entropy(hidden, head, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = summed_cross_entropy(hidden, head, labels)
        expected = functional.cross_entropy((hidden @ weight.T).float(), labels, reduction="sum")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert float(found.detach()) != float(wanted.detach())
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=0.02)


def test_a_head_that_is_trained_is_refused():
    """Its gradient would be missing without a word."""
    hidden, head, labels = operands(2, 3, 4, 0)
    with pytest.raises(AssertionError):
        summed_cross_entropy(hidden, Head(head.weight.requires_grad_()), labels)
