"""Which models are taken, how a row is spelt for them, and which adapters do not fit."""

import logging

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from adamergex.errors import InputError
from adamergex.models import Backbone, backbone, own_backbone
from adamergex.tasks import Example
from tests.support.backbones import (
    ROWS,
    assert_untouched,
    ids_of,
    state,
    tiny_tokenizer,
    write_tiny,
)
from tests.support.folders import LORA, write_adapter


def test_a_base_is_loaded_once_however_it_is_asked_for(tiny_folder):
    """In a worker a second copy would be as large again."""
    name = str(tiny_folder)
    found = backbone(name)
    assert found is backbone(name, None) is backbone(name, labels=None) is backbone(name=name)
    assert found is backbone(name, 3)  # which says nothing about a decoder


def test_encoders_with_different_heads_have_their_layers_in_common(tmp_path):
    """A task's T and its references are trained in one worker, below different heads."""
    name = str(write_tiny("xlm-roberta", tmp_path))
    fills, sorts = backbone(name), backbone(name, 2)
    assert fills is not sorts is backbone(name, labels=2)
    bodies = [dict(found.model.base_model.named_parameters()) for found in (fills, sorts)]
    assert bodies[0].keys() == bodies[1].keys()
    assert all(x.data_ptr() == bodies[1][key].data_ptr() for key, x in bodies[0].items())
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    for key, value in alone.base_model.state_dict().items():
        assert torch.equal(value, sorts.model.base_model.state_dict()[key])


def test_loading_says_nothing(tmp_path, capfd):
    """A new head begins without weights, which transformers reports as a table."""
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    logger = logging.getLogger("transformers")
    name = str(write_tiny("xlm-roberta", tmp_path))
    capfd.readouterr()  # the bar of writing it
    logger.addHandler(handler)
    try:
        own_backbone(name, 3)
    finally:
        logger.removeHandler(handler)
    assert said == []
    assert capfd.readouterr() == ("", "")


def test_a_text_begins_with_the_token_that_says_so(tiny):
    tok = tiny.tokenizer
    for row in ROWS:
        for end in (True, False):
            found = tiny.tokens(row, end=end)
            assert (found.ids, found.prompt_length) == ids_of(tiny, row, end=end)
            assert found.ids[0] == tok.bos_token_id != tok.eos_token_id


def test_where_there_is_no_such_token_the_end_of_the_last_text_begins_the_next(tiny):
    """Qwen's tokenizer has none, and an empty prompt would leave its first token no context."""
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = None
    without = Backbone(tiny.model, tokenizer)
    for row in ROWS:
        found, usual = without.tokens(row, end=True), tiny.tokens(row, end=True)
        before = [] if row.prompt else [tokenizer.eos_token_id]
        assert found.ids == [*before, *usual.ids[1:]]
        assert found.prompt_length == usual.prompt_length - 1 + len(before) >= 1


@pytest.mark.parametrize("most", [4, 6, 9, 100])
def test_a_prompt_is_cut_on_the_left_and_a_text_on_the_right(tiny, most):
    """The answer is kept, and the token that begins every text."""
    row = Example("a face with a big smile and an apple in the train", " Food")
    whole, cut = tiny.tokens(row, end=True), tiny.tokens(row, end=True, max_length=most)
    assert len(cut.ids) == min(most, len(whole.ids))
    assert cut.ids[0] == tiny.tokenizer.bos_token_id
    kept = whole.answer[: most - 1]
    assert cut.answer == kept
    prompt = whole.ids[1 : whole.prompt_length]
    assert cut.ids[1 : cut.prompt_length] == prompt[len(prompt) - (cut.prompt_length - 1) :]
    text = tiny.tokens(Example("", row.prompt), end=True, max_length=most)
    assert text.ids == tiny.tokens(Example("", row.prompt), end=True).ids[:most]


def test_spaces_at_the_end_of_a_prompt_belong_to_the_answer(tiny):
    """So that words are cut as in running text."""
    one, two = (tiny.tokens(Example(*pair), end=False) for pair in (("a =", " b"), ("a = ", "b")))
    assert one == two


def test_a_module_that_the_base_lacks_is_named(tiny, tmp_path):
    """An adapter of a larger model would otherwise end in an error of torch's."""
    name = "base_model.model.model.layers.7.self_attn.q_proj"
    tensors = {
        f"{name}.lora_A.weight": np.ones((2, 32), np.float32),
        f"{name}.lora_B.weight": np.ones((32, 2), np.float32),
    }
    folder = write_adapter(tmp_path / "larger", {**LORA, "target_modules": ["q_proj"]}, tensors)
    before = state(tiny)
    needed = "needed a module of the base model"
    with pytest.raises(InputError, match=needed) as raised, tiny.adapted(folder):
        pass
    assert str(folder) in str(raised.value)
    assert "layers.7.self_attn.q_proj" in str(raised.value)
    assert_untouched(tiny, before)
