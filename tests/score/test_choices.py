"""Choices scored packed, against each prompt and choice run alone over the whole vocabulary.

Log-likelihoods are sums of up to ten terms of size 1 to 10 in float32: they agree to about 1e-5.
"""

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.models import Tokens
from adamergex.score import choices, likelihoods
from adamergex.tasks import Example, Item
from adamergex.train import adapter_config
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES, completion_logits
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


@pytest.mark.parametrize("structure", STRUCTURES)
def test_with_an_adapter(tiny, tiny_folder, tmp_path, structure):
    """Every structure reaches the score: a prefix too, which is no part of the layers."""
    fresh, again = (AutoModelForCausalLM.from_pretrained(tiny_folder) for _ in range(2))
    adapted = randomised(get_peft_model(fresh, adapter_config(STRUCTURES[structure], tiny)), seed=2)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    reference = PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
    items = made(SINGLE) + made(LONGER)
    with tiny.adapted(tmp_path / "adapter") as model:
        found = scores(tiny, model, items)
    for item, row in zip(items, found, strict=True):
        wanted = alone(tiny, item, reference)
        np.testing.assert_allclose(row, wanted, rtol=0, atol=TOLERANCE)
        assert np.abs(wanted - alone(tiny, item)).max() > 1e-2


@pytest.mark.parametrize("size", [1, 30, 100_000])
def test_how_items_are_batched_changes_nothing(tiny, monkeypatch, size):
    items = [item for pair in zip(made(SINGLE), made(MIXED), strict=True) for item in pair]
    usual = scores(tiny, tiny.model, items)
    monkeypatch.setattr(choices, "_BATCH_TOKENS", size)
    for found, wanted in zip(scores(tiny, tiny.model, items), usual, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


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
    found = choices.token_likelihoods(tiny, tiny.model, [cut])
    for (log, _), t in zip(found[0], cut, strict=True):
        logits = tiny.model(input_ids=torch.tensor([t.ids])).logits[0].detach().log_softmax(-1)
        places = range(t.prompt_length - 1, len(t.ids) - 1)
        assert log == pytest.approx(float(logits[places, t.answer].sum()), abs=TOLERANCE)


@pytest.mark.parametrize("size", [1, 40])
def test_many_choices_are_run_in_parts(tiny, monkeypatch, size):
    usual = scores(tiny, tiny.model, made(MIXED))
    monkeypatch.setattr(choices, "_BATCH_CACHE", size)
    rows = []
    monkeypatch.setattr(choices, "continued", spy := _counting(rows))
    found = scores(tiny, tiny.model, made(MIXED))
    np.testing.assert_allclose(found, usual, rtol=0, atol=TOLERANCE)
    assert spy and max(rows) == 1 if size == 1 else max(rows) > 1


def _counting(rows):
    """`continued`, noting how many continuations each prompt has."""
    usual = choices.continued

    def continued(model, cache, mask, tails):
        rows.append(len(tails[0]))
        return usual(model, cache, mask, tails)

    return continued


def test_a_batch_is_as_large_as_its_continuations_make_it(tiny, monkeypatch):
    """Many whole sentences after a prompt of one token are no small batch."""
    run = []

    def continued(model, cache, mask, tails, usual=choices.continued):
        run.append(sum(len(tail) for row in tails for tail in row))
        return usual(model, cache, mask, tails)

    monkeypatch.setattr(choices, "continued", continued)
    monkeypatch.setattr(choices, "_BATCH_TOKENS", 64)
    items = made(("a face with a big smile and an apple", " train"), ("",) * 20)
    found = scores(tiny, tiny.model, items)
    assert max(run) <= 64 < sum(run)
    np.testing.assert_allclose(found, [alone(tiny, items[0])] * 20, rtol=0, atol=TOLERANCE)
