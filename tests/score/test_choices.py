"""Choices scored packed, against each prompt and choice run alone over the whole vocabulary.

Log-likelihoods are sums of up to ten terms of size 1 to 10 in float32: they agree to about 1e-5.
"""

import threading

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.models import Tokens, backbone
from adamergex.score import batching, decoders, likelihoods
from adamergex.tasks import Example, Item
from adamergex.train import adapter_config
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES, completion_logits, write_tiny
from tests.support.models import randomised

pytestmark = QUIET_TRAINING

TOLERANCE = 5e-5
SINGLE = ("A", "B", "C", "D", "E", "F")
LONGER = (" Food", " Emotion and joy", " the race", " Symbols")
MIXED = ("A", " Travel in the train", "Z")


def made(choices, prompts=tuple(row.prompt for row in ROWS)):
    return [Item(str(i), prompt, choices, gold=0) for i, prompt in enumerate(prompts)]


def alone(backbone, item, model=None):
    """The log-likelihood of each choice, from one forward pass for each."""
    found = []
    for choice in item.choices:
        row = Example(item.prompt, choice)
        logits, wanted = completion_logits(backbone, row, model=model, end=False)
        found.append(float(logits.log_softmax(-1)[range(len(wanted)), wanted].sum()))
    return np.array(found)


def scores(backbone, model, items):
    return [[log for log, _ in row] for row in likelihoods(backbone, model, items)]


def longest(backbone, answers):
    tok = backbone.tokenizer
    return max(len(tok.encode(answer, add_special_tokens=False)) for answer in answers)


@pytest.mark.parametrize("answers", [LONGER, MIXED])
def test_choices_of_several_tokens(tiny, answers):
    assert longest(tiny, answers) > 1
    for item, found in zip(made(answers), scores(tiny, tiny.model, made(answers)), strict=True):
        np.testing.assert_allclose(found, alone(tiny, item), rtol=0, atol=TOLERANCE)


def test_choices_of_one_token(tiny):
    assert longest(tiny, SINGLE) == 1
    for item, found in zip(made(SINGLE), scores(tiny, tiny.model, made(SINGLE)), strict=True):
        wanted = alone(tiny, item)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
        assert np.ptp(wanted) > 0.1


@pytest.fixture(params=STRUCTURES)
def adapter(request, tiny, tiny_folder, tmp_path):
    """A folder with an adapter of each structure, and PEFT's own model with it."""
    fresh, again = (AutoModelForCausalLM.from_pretrained(tiny_folder) for _ in range(2))
    config = adapter_config(STRUCTURES[request.param], tiny)
    folder = tmp_path / "adapter"
    randomised(get_peft_model(fresh, config), seed=2).save_pretrained(
        folder, save_embedding_layers=False
    )
    return folder, PeftModel.from_pretrained(again, folder).eval()


def test_with_an_adapter(tiny, adapter):
    """Every structure reaches the score: a prefix too, which is no part of the layers."""
    folder, reference = adapter
    items = made(SINGLE) + made(LONGER)
    with tiny.adapted(folder) as model:
        found = scores(tiny, model, items)
    for item, row in zip(items, found, strict=True):
        wanted = alone(tiny, item, reference)
        np.testing.assert_allclose(row, wanted, rtol=0, atol=TOLERANCE)
        assert np.abs(wanted - alone(tiny, item)).max() > 1e-2


@pytest.mark.parametrize("size", [1, 30, 100_000])
def test_how_items_are_batched_changes_nothing(tiny, monkeypatch, size):
    items = [item for pair in zip(made(SINGLE), made(MIXED), strict=True) for item in pair]
    usual = scores(tiny, tiny.model, items)
    _batches_of(monkeypatch, size)
    for found, wanted in zip(scores(tiny, tiny.model, items), usual, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


def _batches_of(monkeypatch, size):
    for module in (batching, decoders):
        monkeypatch.setattr(module, "BATCH_TOKENS", size)


def test_greedy_is_what_decoding_would_write(tiny):
    """Of all one-token answers the one with the largest logit, and no other."""
    (item,) = made(SINGLE, ("red apple =",))
    logits, _ = completion_logits(tiny, Example(item.prompt, "A"), end=False)
    best = tiny.tokenizer.decode([int(logits[0].argmax())])
    (row,) = likelihoods(tiny, tiny.model, made((*SINGLE, best), (item.prompt,)))
    assert [greedy for _, greedy in row] == [choice == best for choice in (*SINGLE, best)]


def test_no_items_give_no_scores(tiny):
    assert scores(tiny, tiny.model, []) == []


def test_an_empty_choice_is_refused(tiny):
    """It has no token to be unlikely, and would win against every other."""
    item = Item("x", "a question", (" yes", ""), 0)
    with pytest.raises(InputError, match="a choice without a token"):
        scores(tiny, tiny.model, [item])


def test_choices_of_which_each_has_another_prompt(tiny):
    """As where prompts were cut on the left to make room for answers of different lengths."""
    ids = [tiny.tokens(Example(ROWS[1].prompt, choice), end=False) for choice in ("A", *LONGER)]
    cut = [Tokens(t.ids[i:], t.prompt_length - i) for i, t in enumerate(ids)]
    found = decoders.token_likelihoods(tiny, tiny.model, [cut])
    for (log, _), t in zip(found[0], cut, strict=True):
        logits = tiny.model(input_ids=torch.tensor([t.ids])).logits[0].detach().log_softmax(-1)
        places = range(t.prompt_length - 1, len(t.ids) - 1)
        assert log == pytest.approx(float(logits[places, t.answer].sum()), abs=TOLERANCE)


@pytest.mark.parametrize("size", [1, 40])
def test_many_choices_are_run_in_parts(tiny, monkeypatch, size):
    usual = scores(tiny, tiny.model, made(MIXED))
    monkeypatch.setattr(decoders, "_CACHE_TOKENS", size)
    rows = []
    monkeypatch.setattr(decoders, "continued", spy := _counting(rows))
    found = scores(tiny, tiny.model, made(MIXED))
    np.testing.assert_allclose(found, usual, rtol=0, atol=TOLERANCE)
    assert spy and max(rows) == 1 if size == 1 else max(rows) > 1


def _counting(rows):
    """`continued`, noting how many continuations each prompt has."""
    usual = decoders.continued

    def continued(model, prompts, tails):
        rows.append(len(tails[0]))
        return usual(model, prompts, tails)

    return continued


def test_a_batch_is_as_large_as_its_continuations_make_it(tiny, monkeypatch):
    """Many whole sentences after a prompt of one token are no small batch."""
    run = []

    def continued(model, prompts, tails, usual=decoders.continued):
        run.append(sum(len(tail) for row in tails for tail in row))
        return usual(model, prompts, tails)

    monkeypatch.setattr(decoders, "continued", continued)
    _batches_of(monkeypatch, 64)
    items = made(("a face with a big smile and an apple", " train"), ("",) * 20)
    found = scores(tiny, tiny.model, items)
    assert max(run) <= 64 < sum(run)
    np.testing.assert_allclose(found, [alone(tiny, items[0])] * 20, rtol=0, atol=TOLERANCE)


SHOTS = "a lion = Animals train = Travel red apple ="


@pytest.fixture
def runs(monkeypatch):
    """How many tokens each call of `prefilled` ran, and what it gave."""
    seen = []

    def prefilled(model, rows, opening=None, usual=decoders.prefilled):
        seen.append((sum(map(len, rows)), opening))
        return usual(model, rows, opening)

    monkeypatch.setattr(decoders, "prefilled", prefilled)
    return seen


def few_shot(answers):
    return made(answers, tuple(f"{SHOTS} {row.prompt}" for row in ROWS if row.prompt))


@pytest.mark.parametrize("answers", [SINGLE, MIXED, LONGER])
@pytest.mark.parametrize("kind", ["gemma3", "llama", "qwen3"])
def test_examples_that_all_prompts_begin_with_are_run_once(kind, answers, tmp_path, runs):
    decoder = backbone(str(write_tiny(kind, tmp_path)))
    shots = decoder.tokens(Example(SHOTS, " x"), end=False).prompt_length
    items = few_shot(answers)
    for item, found in zip(items, scores(decoder, decoder.model, items), strict=True):
        np.testing.assert_allclose(found, alone(decoder, item), rtol=0, atol=TOLERANCE)
    assert shots > decoders._OPENING
    (first, opening), *others = runs
    assert (first, opening) == (shots, None)
    assert others
    assert all(opening is not None for _, opening in others)


def test_examples_that_all_prompts_begin_with_and_an_adapter(tiny, adapter, runs):
    folder, reference = adapter
    items = few_shot(MIXED)
    with tiny.adapted(folder) as model:
        found = scores(tiny, model, items)
    assert runs[0][1] is None
    assert runs[-1][1] is not None
    for item, row in zip(items, found, strict=True):
        np.testing.assert_allclose(row, alone(tiny, item, reference), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_how_many_threads_score_changes_nothing(tiny, monkeypatch, threads):
    """Nor does scoring change how many there are; and which of them is faster changes no bit."""
    items = made(SINGLE) * 4 + made(MIXED)
    monkeypatch.setattr(batching, "_LEAST", 8)
    seen = set()

    def states(*arguments, usual=decoders.answer_states, **options):
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return usual(*arguments, **options)

    monkeypatch.setattr(decoders, "answer_states", states)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        usual = likelihoods(tiny, tiny.model, items)
        seen.clear()
        torch.set_num_threads(threads)
        found, again = (likelihoods(tiny, tiny.model, items) for _ in range(2))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found == again
    for row, wanted in zip(found, usual, strict=True):
        np.testing.assert_allclose([x for x, _ in row], [x for x, _ in wanted], atol=TOLERANCE)
    assert {own for _, own in seen} == {1}
    assert len(seen) <= 2 * min(threads, 4)


@pytest.mark.parametrize("error", [IndexError, ValueError])
def test_what_fails_in_a_thread_fails(tiny, monkeypatch, error):
    """A token that the model does not have is an IndexError."""

    def states(*_, **__):
        raise error("no such token")

    monkeypatch.setattr(decoders, "answer_states", states)
    with pytest.raises(error, match="no such token"):
        likelihoods(tiny, tiny.model, made(SINGLE) * 4)


def test_the_output_layer_is_gone_through_in_parts(tiny, monkeypatch):
    items = made(MIXED)
    usual = likelihoods(tiny, tiny.model, items)
    monkeypatch.setattr(decoders, "_LOGITS", 64)
    monkeypatch.setattr(decoders, "_HEAD_ROWS", 3)
    for found, wanted in zip(likelihoods(tiny, tiny.model, items), usual, strict=True):
        np.testing.assert_allclose([x for x, _ in found], [x for x, _ in wanted], atol=TOLERANCE)
        assert [x for _, x in found] == [x for _, x in wanted]


@given(
    costs=st.lists(st.integers(1, 3000), max_size=60),
    kinds=st.data(),
    workers=st.integers(1, 8),
)
def test_batches_hold_every_row_in_order_and_no_more_than_they_may(costs, kinds, workers):
    rows = list(range(len(costs)))
    drawn = kinds.draw(st.lists(st.sampled_from("ab"), min_size=len(rows), max_size=len(rows)))
    found = batching.batches(rows, costs, drawn, workers=workers)
    assert [row for batch in found for row in batch] == rows
    for batch in found:
        assert len({drawn[row] for row in batch}) == 1
        assert len(batch) == 1 or sum(costs[row] for row in batch) <= batching.BATCH_TOKENS


@given(costs=st.lists(st.integers(1, 60), min_size=40, max_size=400), workers=st.integers(2, 8))
def test_every_worker_finds_as_much_to_do(costs, workers):
    assume(sum(costs) >= workers * batching._LEAST)
    found = batching.batches(costs, costs, workers=workers)
    assert len(found) % workers == 0
    share = sum(costs) / len(found)
    assert all(abs(sum(batch) - share) <= max(costs) for batch in found)
