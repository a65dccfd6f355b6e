"""Our model of lm-evaluation-harness beside its own, HFLM, on the same requests."""

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.models import backbone
from adamergex.score.harness import HarnessModel
from adamergex.train import adapter_config
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES, write_tiny
from tests.support.models import randomised

pytestmark = QUIET_TRAINING

CHOICES = (" Food", "A", " the race of the train", " Food")
"""Of one token and of several, one of them twice."""


def peer(folder, **options):
    return HFLM(
        pretrained=str(folder), device="cpu", dtype="float32", batch_size=3,
        add_bos_token=True, **options,
    )  # fmt: skip


def asked(pairs):
    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def answers(model, requests):
    found = model.loglikelihood(requests, disable_tqdm=True)
    return np.array([log for log, _ in found]), [greedy for _, greedy in found]


@pytest.fixture
def pairs():
    """Prompts in turns, as lm_eval may send them, and one without a prompt."""
    return [(row.prompt, choice) for choice in CHOICES for row in ROWS]


@pytest.fixture
def ours(tiny_folder):
    return HarnessModel(str(tiny_folder), add_bos_token=True)


def test_lm_eval_knows_it_by_name():
    assert get_model("adamergex") is HarnessModel


def test_likelihoods(ours, tiny_folder, pairs):
    logs, greedy = answers(ours, asked(pairs))
    wanted, best = answers(peer(tiny_folder), asked(pairs))
    np.testing.assert_allclose(logs, wanted, rtol=0, atol=5e-5)
    assert greedy == best
    assert np.ptp(wanted) > 1


def test_with_an_adapter(tiny_folder, tmp_path, pairs):
    # Given a folder, HFLM would cut the tokens off the output layer that the tokenizer lacks.
    fresh, again = (AutoModelForCausalLM.from_pretrained(tiny_folder).eval() for _ in range(2))
    tiny = backbone(str(tiny_folder))
    adapted = randomised(get_peft_model(fresh, adapter_config(STRUCTURES["lora"], tiny)), seed=2)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    theirs = peer(tiny_folder)
    theirs._model = PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
    wanted, _ = answers(theirs, asked(pairs))
    options = {"add_bos_token": True, "peft": str(tmp_path / "adapter")}
    one, two = HarnessModel(str(tiny_folder), **options), HarnessModel(str(tiny_folder), **options)
    for model in (one, two):  # each has weights of its own, with the adapter on them once
        np.testing.assert_allclose(answers(model, asked(pairs))[0], wanted, rtol=0, atol=5e-5)
    plain = HarnessModel(str(tiny_folder), add_bos_token=True)
    assert np.abs(answers(plain, asked(pairs))[0] - wanted).max() > 1e-2


@pytest.mark.parametrize("most", [6, 9])
def test_what_is_too_long_is_cut_as_there(tiny_folder, most):
    pairs = [("a face with a big smile and an apple in the train", " Food")]
    ours = HarnessModel(str(tiny_folder), max_length=most, add_bos_token=True)
    logs, _ = answers(ours, asked(pairs))
    np.testing.assert_allclose(
        logs, answers(peer(tiny_folder, max_length=most), asked(pairs))[0], atol=5e-5
    )
    whole = HarnessModel(str(tiny_folder), add_bos_token=True)
    assert abs(logs - answers(whole, asked(pairs))[0]) > 1e-3


def test_an_answer_that_does_not_fit_is_refused(tiny_folder):
    ours = HarnessModel(str(tiny_folder), max_length=2)
    with pytest.raises(InputError, match=r"max_length: found an answer of \d+ tokens; needed 2"):
        answers(ours, asked([("a lion", " the race of the train")]))


def test_an_answer_without_a_token_is_refused(ours):
    with pytest.raises(InputError, match="found a continuation without a token"):
        ours._loglikelihood_tokens([(("New Yor", "k"), [5, 6], [])])


def test_without_being_told_texts_begin_as_the_tokenizer_begins_them(tiny_folder, pairs):
    theirs = HFLM(pretrained=str(tiny_folder), device="cpu", dtype="float32")
    found, wanted = (
        answers(HarnessModel(str(tiny_folder)), asked(pairs)),
        answers(theirs, asked(pairs)),
    )
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=5e-5)


def test_free_text_and_whole_texts(ours, tiny_folder):
    options = {"until": ["="], "max_gen_toks": 8, "do_sample": False}
    writing = [Instance("generate_until", {}, (row.prompt, options), 0) for row in ROWS[:4]]
    reading = [Instance("loglikelihood_rolling", {}, (row.prompt,), 0) for row in ROWS[:4]]
    theirs = peer(tiny_folder)
    assert ours.generate_until(writing, disable_tqdm=True) == theirs.generate_until(
        writing, disable_tqdm=True
    )
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(reading, disable_tqdm=True),
        theirs.loglikelihood_rolling(reading, disable_tqdm=True),
        atol=1e-4,
    )


def test_an_encoder_decoder_is_left_to_hflm(tmp_path, pairs):
    folder = write_tiny("t5", tmp_path)
    logs, greedy = answers(HarnessModel(str(folder)), asked(pairs[1:4]))
    theirs = HFLM(
        pretrained=str(folder), backend="seq2seq", device="cpu", dtype="float32", batch_size=3
    )
    wanted, best = answers(theirs, asked(pairs[1:4]))
    np.testing.assert_allclose(logs, wanted, atol=5e-5)
    assert greedy == best


def test_what_it_does_not_take_is_refused(tiny_folder, tmp_path):
    with pytest.raises(InputError, match="--model_args: found revision; needed pretrained"):
        HarnessModel(str(tiny_folder), revision="main", device="cuda:0")
    with pytest.raises(InputError, match="found an encoder"):
        HarnessModel(str(write_tiny("xlm-roberta", tmp_path)))
