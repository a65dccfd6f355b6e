"""Rows packed into one sequence attend each by itself: what they give is what each gives alone."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamergex.models import answer_states, attention, backbone, padded
from tests.support.backbones import DECODERS, QUIET_TRAINING, write_tiny

pytestmark = QUIET_TRAINING

LENGTHS = (3, 1, 8, 5)  # gemma3's window is 8


@pytest.fixture(params=DECODERS)
def decoder(request, tmp_path):
    return backbone(str(write_tiny(request.param, tmp_path)))


def drawn(lengths):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 200, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture
def rows():
    return drawn(LENGTHS)


@torch.no_grad()
def alone(decoder, row):
    return decoder.model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[-1]


@pytest.mark.parametrize("lengths", [LENGTHS, (3, 20, 9)])
def test_no_row_sees_another(decoder, lengths):
    rows = drawn(lengths)
    with torch.no_grad():
        found = decoder.hidden(decoder.model, rows)
    wanted = torch.cat([alone(decoder, row)[0] for row in rows])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert wanted.abs().max() > 0.5


@pytest.mark.parametrize("lengths", [LENGTHS, (3, 20, 9)])
def test_only_products_within_rows_are_made(decoder, lengths, monkeypatch):
    seen = []

    def spy(module, query, key, *rest, usual=attention.sdpa_attention_forward, **options):
        seen.append((query.shape[2], key.shape[2]))
        return usual(module, query, key, *rest, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", spy)
    with torch.no_grad():
        decoder.hidden(decoder.model, drawn(lengths))
    assert seen == [(n, n) for n in lengths] * decoder.model.config.num_hidden_layers


TREE = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=7), min_size=1, max_size=8)


@given(rows=TREE, ordered=st.booleans())
def test_what_rows_begin_with_alike_is_run_once(decoders, rows, ordered):
    """In order, as many tokens are run as there are beginnings, but for rows that come twice."""
    rows = sorted(rows) if ordered else rows
    beginnings = {tuple(row[:k]) for row in rows for k in range(1, len(row) + 1)}
    twice = sum(a == b for a, b in pairwise(rows))
    for decoder in decoders:
        with torch.no_grad(), _tokens_run(decoder) as run:
            found = answer_states(decoder, decoder.model, rows, shared=True)
        wanted = torch.cat([alone(decoder, row)[0, -1:] for row in rows])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        if ordered:
            assert run == [len(beginnings) + twice]


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoders")
    return [backbone(str(write_tiny(kind, folder / kind))) for kind in DECODERS]


@contextmanager
def _tokens_run(decoder):
    run = []
    first = decoder.model.get_decoder().layers[0]
    hook = first.register_forward_pre_hook(lambda _, inputs: run.append(inputs[0].shape[1]))
    yield run
    hook.remove()


@pytest.mark.parametrize("why", ["a window", "another attention"])
def test_nothing_is_shared_where_it_could_not_be_seen(tmp_path, why):
    decoder = backbone(str(write_tiny("gemma3", tmp_path)))
    rows = [[3] * 9, [3] * 8 + [4]]  # the window is 8
    if why == "another attention":
        rows = [row[2:] for row in rows]
        decoder.model.set_attn_implementation("eager")
    with torch.no_grad(), _tokens_run(decoder) as run:
        found = answer_states(decoder, decoder.model, rows, shared=True)
    assert run == [sum(map(len, rows))]
    wanted = torch.cat([alone(decoder, row)[0, -1:] for row in rows])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_rows_that_are_not_packed_are_run_as_they_were(decoder, rows):
    """Padded ones, too, which need transformers' mask."""
    ids, mask = (x.flip(1) for x in padded([row[::-1] for row in rows]))
    positions = (mask.cumsum(1) - 1).clamp(min=0)

    @torch.no_grad()
    def states():
        output = decoder.model.get_decoder()(ids, attention_mask=mask, position_ids=positions)
        return output.last_hidden_state[:, -1]

    before = states()
    with torch.no_grad():
        decoder.hidden(decoder.model, rows)
    torch.testing.assert_close(states(), before, rtol=0, atol=0)
    each = torch.cat([alone(decoder, row)[0, -1:] for row in rows])
    torch.testing.assert_close(before, each, rtol=1e-4, atol=1e-4)


def test_threads_run_one_model_at_once(decoder):
    drawings = [drawn(n + k for n in LENGTHS) for k in range(24)]

    @torch.no_grad()
    def states(rows):
        return decoder.hidden(decoder.model, rows)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(states, drawings))
    for x, rows in zip(found, drawings, strict=True):
        torch.testing.assert_close(x, states(rows), rtol=1e-4, atol=1e-4)


def test_another_attention_than_sdpa_is_left_to_transformers(decoder, rows):
    with torch.no_grad():
        wanted = decoder.hidden(decoder.model, rows)
        decoder.model.set_attn_implementation("eager")
        found = decoder.hidden(decoder.model, rows)
    assert decoder.model.config._attn_implementation == "eager"
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
def test_a_layer_that_runs_again_on_the_way_back_does_so_row_by_row(decoder, rows):
    with torch.no_grad():
        wanted = decoder.hidden(decoder.model, rows)
    decoder.model.gradient_checkpointing_enable({"use_reentrant": False})
    decoder.model.train().requires_grad_(True)
    found = decoder.hidden(decoder.model, rows)
    found.sum().backward()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
