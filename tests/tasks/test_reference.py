"""Reference tasks: the rows of Rt and Rs differ in language and in nothing else."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks import Example
from adamergex.tasks.reference import (
    COUNTERPARTS,
    cloze,
    plain_text,
    span_corruption,
    translation,
)

PERSIAN = ["سیب قرمز", "پرچم شطرنجی"]
ENGLISH = ["red apple", "chequered flag"]
texts = st.text("abc déไทย", min_size=1, max_size=80)
lines = texts.map(lambda text: " ".join(text.split())).filter(bool)


def test_plain_text_is_the_text_alone():
    assert plain_text(PERSIAN) == [Example("", "سیب قرمز"), Example("", "پرچم شطرنجی")]


def test_translation_is_read_in_the_target_and_written_in_the_source():
    assert translation(PERSIAN, ENGLISH, "English") == [
        Example("سیب قرمز in English:", " red apple"),
        Example("پرچم شطرنجی in English:", " chequered flag"),
    ]


def test_lines_that_are_not_parallel_are_refused():
    with pytest.raises(InputError, match="lines: found 2; needed 1, as in the source language"):
        translation(PERSIAN, ENGLISH[:1], "English")


@given(st.lists(lines, min_size=1, max_size=5))
def test_a_cloze_hides_a_word_that_the_line_has(texts):
    for row in cloze(texts):
        shown = re.fullmatch(r"Text: (.*)\nWord:", row.prompt)[1]
        assert shown.count("___") == 1
        assert shown.replace("___", row.completion[1:]) in texts
        assert row.completion[1:].strip() == row.completion[1:] != ""


def test_a_cloze_is_the_same_every_time_and_needs_letters():
    texts = ["The lion eats an apple", "123 — 456", "ราชสีห์กินแอปเปิลในสวนของฉันทุกวันเลย"]
    assert cloze(texts) == cloze(texts)
    assert len(cloze(texts)) == 2
    assert len(cloze(texts[2:])[0].completion) <= 4


def restored(row):
    """The line that a corrupted row came from: each span put where its sentinel stands."""
    parts = re.split(r"<extra_id_\d+>", row.completion)
    text = row.prompt
    for number, span in enumerate(parts[1:-1]):
        sentinel = f"<extra_id_{number}>"
        assert text.count(sentinel) == 1
        text = text.replace(sentinel, span.strip(" ") if " " in row.prompt else span)
    return text


@given(st.lists(st.sampled_from(["lion", "apple", "ball", "ไทย"]), min_size=8, max_size=60))
def test_corrupted_words_restore_the_line(words):
    line = " ".join(words)
    (row,) = span_corruption([line])
    assert restored(row) == line
    hidden = [w for w in row.completion.split() if not w.startswith("<")]
    assert 1 <= len(hidden) <= max(5, 0.4 * len(words))


@given(st.text("abcไทย", min_size=2, max_size=40))
def test_short_and_unspaced_text_is_corrupted_by_character(line):
    (row,) = span_corruption([line])
    assert restored(row) == line
    assert row.completion.endswith("<extra_id_1>") or len(line) >= 30


@given(lines, st.integers(0, 9))
def test_counterparts_are_what_they_say(line, seed):
    made = {name: make(line, random.Random(seed)) for name, make in COUNTERPARTS.items()}
    assert made["copy"] == line
    assert sorted(made["shuffled"].split()) == sorted(line.split())
    left = iter(line.split())
    assert all(word in left for word in made["dropped"].split())  # a subsequence
    assert made["dropped"]
