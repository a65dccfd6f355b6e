"""Prompts that are too long: what they lose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.models import shortened
from adamergex.score import generation
from adamergex.score.harness import HarnessModel
from adamergex.tasks import Example, Item

WORDS = st.lists(
    st.sampled_from(["lion", "apple", "the", "é", "ball", "x", "\n", "苹"]), max_size=60
)
TAIL = "\nSummary:"


def size(tok, text):
    return len(tok(text, add_special_tokens=False).input_ids)


@pytest.fixture(scope="module")
def tok(tiny):
    return tiny.tokenizer


@given(words=WORDS, most=st.integers(1, 80))
def test_what_is_before_the_tail_loses_its_end(tok, words, most):
    head = " ".join(words)
    found = shortened(tok, head + TAIL, len(TAIL), most)
    if size(tok, head + TAIL) <= most or most <= size(tok, TAIL) + 1:
        assert found == head + TAIL
        return
    assert found.endswith(TAIL)
    assert head.startswith(found.removesuffix(TAIL))
    assert most - 8 <= size(tok, found) <= most


@given(words=WORDS, most=st.integers(1, 80))
def test_without_a_tail_nothing_is_done_here(tok, words, most):
    assert shortened(tok, " ".join(words), 0, most) == " ".join(words)


@pytest.mark.parametrize("end", [True, False])
def test_a_row_keeps_its_lead_its_tail_and_its_answer(tiny, end):
    head = " ".join(f"lion ball{i}" for i in range(50))
    row = Example(f"{head}{TAIL}", " apple", tail=len(TAIL))
    whole = tiny.tokens(row, end=end)
    cut = tiny.tokens(row, end=end, max_length=40)
    assert len(whole.ids) > 40 >= len(cut.ids) > 30
    assert cut.answer == whole.answer
    assert cut.ids[:12] == whole.ids[:12]  # the beginning, which a cut on the left takes away
    tail = size(tiny.tokenizer, TAIL)
    assert (
        cut.ids[cut.prompt_length - tail : cut.prompt_length]
        == (whole.ids[whole.prompt_length - tail : whole.prompt_length])
    )
    left = tiny.tokens(Example(row.prompt, row.completion), end=end, max_length=40)
    assert left.ids[1:12] != whole.ids[1:12]


def test_a_free_answer_is_written_after_the_lead_and_the_tail(tiny, monkeypatch):
    asked, before = [], tiny.tokenizer("a").input_ids

    def generate(self, requests, disable_tqdm):
        asked.extend(request.args for request in requests)
        return [""] * len(requests)

    monkeypatch.setattr(HarnessModel, "generate_until", generate)
    monkeypatch.setattr(generation, "_LONGEST", 64)
    head = "Lead. " + "apple " * 300
    long = Item("0", f"{head}{TAIL}", (), None, ("\n",), 8, len(TAIL))
    short = Item("1", f"Lead.{TAIL}", (), None, ("\n",), 8, len(TAIL))
    generation.generations(tiny, tiny.model, [long, short])
    (first, options), (second, _) = asked
    assert first.startswith("Lead. apple") and first.endswith(TAIL)
    assert 40 < size(tiny.tokenizer, first) <= 64 - 8 - 2
    assert second == short.prompt
    assert options == {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}
    assert tiny.tokenizer("a").input_ids == before  # others read by it
