"""The divergence from a teacher's likeliest tokens, against plain torch on whole distributions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, kl_div

from adamergex.models import Head
from adamergex.train import loss
from adamergex.train.loss import divergences

cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**16),
        "n": st.integers(1, 7),
        "size": st.integers(2, 40),
        "scale": st.sampled_from([1.0, 0.25, 2.5]),
        "cap": st.sampled_from([None, 3.0, 30.0]),
    }
)


def drawn(seed, n, size, width=5, sharpness=3.0, **options):
    """States of a student, an output layer, and a teacher's log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, width, generator=generator, requires_grad=True)
    head = Head(torch.randn(size, width, generator=generator), **options)
    teacher = (sharpness * torch.randn(n, size, generator=generator)).log_softmax(-1)
    return hidden, head, teacher


def likeliest(teacher, k):
    best, ids = teacher.topk(k)
    others = teacher.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return ids.int(), torch.cat([best, others], dim=1)


def logits_of(hidden, head):
    logits = head.scale * (hidden @ head.weight.T)
    return logits if head.cap is None else torch.tanh(logits / head.cap) * head.cap


def plain(hidden, head, teacher):
    found = logits_of(hidden, head).log_softmax(-1)
    return kl_div(found, teacher, log_target=True, reduction="none").sum(-1)


def lumped(logs, ids):
    """A whole distribution with all tokens but some brought together."""
    others = torch.ones_like(logs, dtype=torch.bool).scatter(1, ids.long(), False)
    rest = logs.exp().mul(others).sum(-1, keepdim=True).log()
    return torch.cat([logs.gather(1, ids.long()), rest], dim=1)


def assert_alike(loss, wanted, hidden):
    """The same value, and the same gradient when the rows count differently."""
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 2, len(loss))
    ours, theirs = (
        torch.autograd.grad((x * weights).sum(), hidden, retain_graph=True)[0]
        for x in (loss, wanted)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(cases)
def test_with_all_tokens_it_is_the_divergence_itself(case):
    hidden, head, teacher = drawn(**case)
    ids, logs = likeliest(teacher, teacher.shape[1])
    assert_alike(divergences(hidden, head, ids, logs), plain(hidden, head, teacher), hidden)


@settings(max_examples=40, deadline=None)
@given(cases, st.data())
def test_with_some_all_others_are_one_and_it_is_never_more(case, data):
    hidden, head, teacher = drawn(**case)
    ids, logs = likeliest(teacher, data.draw(st.integers(1, case["size"] - 1)))
    found = divergences(hidden, head, ids, logs)
    student = logits_of(hidden, head).log_softmax(-1)
    of_parts = kl_div(
        lumped(student, ids), lumped(teacher, ids), log_target=True, reduction="none"
    ).sum(-1)
    assert_alike(found, of_parts, hidden)
    assert (found <= plain(hidden, head, teacher) + 1e-5).all()
    assert (found > -1e-5).all()


@settings(max_examples=20, deadline=None)
@given(cases)
def test_one_certain_token_gives_its_cross_entropy(case):
    hidden, head, teacher = drawn(**case)
    labels = teacher.argmax(-1)
    certain = torch.tensor([[0.0, -torch.inf]]).expand(case["n"], -1)
    found = divergences(hidden, head, labels[:, None], certain)
    assert_alike(found, cross_entropy(logits_of(hidden, head), labels, reduction="none"), hidden)


def test_it_is_the_same_in_parts(monkeypatch):
    hidden, head, teacher = drawn(0, 9, 20)
    ids, logs = likeliest(teacher, 4)
    wanted = divergences(hidden, head, ids, logs)
    monkeypatch.setattr(loss, "_ROWS", 4)
    assert_alike(divergences(hidden, head, ids, logs), wanted, hidden)


@pytest.mark.parametrize("sharpness", [30.0, 300.0])
def test_what_is_certain_to_the_last_digit_gives_no_nan(sharpness):
    hidden, head, teacher = drawn(1, 8, 30, sharpness=sharpness)
    ids, logs = likeliest(teacher, 3)
    found = divergences(100 * hidden, head, ids, logs)
    (slope,) = torch.autograd.grad(found.sum(), hidden)
    assert torch.isfinite(found).all()
    assert torch.isfinite(slope).all()


def test_no_rows_are_no_divergence():
    hidden, head, teacher = drawn(0, 1, 6)
    ids, logs = likeliest(teacher, 2)
    assert divergences(hidden[:0], head, ids[:0], logs[:0]).sum() == 0
