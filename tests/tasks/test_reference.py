"""Reference tasks: the rows of Rt and Rs differ in language and in nothing else."""

import pytest

from adamergex.errors import InputError
from adamergex.tasks import REFERENCES, Example, data, emoji, examples
from adamergex.tasks.reference import reference_examples

PERSIAN = ["سیب قرمز", "پرچم شطرنجی"]
ENGLISH = ["red apple", "chequered flag"]


def test_causal_lm_is_the_text_alone():
    rows = reference_examples("causal-lm", PERSIAN, ENGLISH)
    assert rows == [Example("", "سیب قرمز"), Example("", "پرچم شطرنجی")]


def test_translation_is_read_in_the_target_and_written_in_english():
    rows = reference_examples("translation", PERSIAN, ENGLISH)
    assert rows == [
        Example("سیب قرمز in English:", " red apple"),
        Example("پرچم شطرنجی in English:", " chequered flag"),
    ]


def test_translation_of_the_source_itself_is_copying():
    assert reference_examples("translation", ENGLISH, ENGLISH)[0] == Example(
        "red apple in English:", " red apple"
    )


def test_lines_that_are_not_parallel_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        reference_examples("translation", PERSIAN, ENGLISH[:1])


def test_an_unknown_reference_is_refused():
    with pytest.raises(InputError, match="found cloze; needed translation or causal-lm"):
        reference_examples("cloze", PERSIAN, ENGLISH)


@pytest.mark.parametrize("reference", REFERENCES)
def test_rt_and_rs_are_parallel_and_from_the_reference_split(reference):
    for language in ("fa", "en"):
        lines = emoji.names(language, "reference")
        rows = examples(data(reference, language, source="en"))
        assert len(rows) == len(lines) == emoji.SPLITS["reference"]
        assert all(
            line in row.prompt + row.completion for line, row in zip(lines, rows, strict=True)
        )


def test_the_answers_of_rt_and_rs_in_translation_are_the_same():
    one, other = (examples(data("translation", language, source="en")) for language in ("fa", "en"))
    assert [row.completion for row in one] == [row.completion for row in other]
    assert [row.prompt for row in one] != [row.prompt for row in other]


def test_another_source_language_is_translated_into():
    rows = examples(data("translation", "fa", source="de"))
    assert [row.completion for row in rows] == [
        f" {line}" for line in emoji.names("de", "reference")
    ]
