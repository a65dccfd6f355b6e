"""The last number of a text, as people and models write it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

from adamergex.tasks.metrics import number
from adamergex.tasks.numerals import harness_number, last_number

MGSM = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
ZEROS = "0٠۰०০௦౦๐０"
"""Zero in ASCII, Arabic, Persian, Devanagari, Bengali, Tamil, Telugu, Thai and full width."""


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("en", "72.", "72"),
        ("en", "It is 72...", "72"),
        ("en", "It is 72, in total.", "72"),
        ("en", "$5.00.", "5"),
        ("en", "-$5", "-5"),
        ("en", "50%", "50"),
        ("en", "1,800 or 1,00,000", "100000"),
        ("en", "2.125", "2.125"),
        ("en", "1'000", "1000"),
        ("en", "8-9", "9"),
        ("en", "8–9", "9"),
        ("en", "10-8", "8"),
        ("en", "5 - 3", "3"),
        ("en", "x = -3", "-3"),
        ("en", "COVID-19", "19"),
        ("en", "1,2,3", "3"),
        ("en", "1/2", "2"),
        ("en", "007", "7"),
        ("en", "-0.0", "0"),
        ("en", "none", None),
        ("de", "Es sind 1.800.", "1800"),
        ("de", "2,5", "2.5"),
        ("de", "0.500", "0.5"),
        ("de", "1.234.567,80", "1234567.8"),
        ("de", "12.05.2020", "2020"),
        ("es", "2.125 euros", "2125"),
        ("fr", "1 800 euros", "1800"),
        ("fr", "1\u00a0800", "1800"),
        ("fr", "1\u202f800\u202f000,5", "1800000.5"),
        ("ru", "1 000", "1000"),
        ("fr", "0 100", "100"),
        ("fr", "12 1000", "1000"),
        ("bn", "উত্তর হল ১৮", "18"),
        ("bn", "১,০০,০০০", "100000"),
        ("th", "คำตอบคือ ๑๘", "18"),
        ("te", "సమాధానం ౧౮", "18"),
        ("ar", "١٬٢٣٤٫٥", "1234.5"),
        ("hi", "१८ रुपये", "18"),
        ("ja", "答えは１，８００です", "1800"),
        ("zh", "是−3度", "-3"),
        ("zh", "10\u22128", "8"),
        ("en", "\u200f18\u200e", "18"),
    ],
)
def test_numbers_as_people_write_them(language, text, found):
    assert last_number(text, language) == found


@given(st.integers(0, 10**9), st.sampled_from(ZEROS), st.sampled_from(MGSM), st.booleans())
def test_a_number_in_any_digits_and_its_languages_groups_is_that_number(
    value, zero, language, grouped
):
    mark = {"de": ".", "es": ".", "fr": "\u202f", "ru": "\u00a0"}.get(language, ",")
    text = f"{value:,}".replace(",", mark) if grouped else str(value)
    written = text.translate({48 + i: ord(zero) + i for i in range(10)})
    for said in (written, f"({written}).", f"a {written}%", f"7. {written}...", f"9 − {written}"):
        assert last_number(said, language) == str(value)


@given(
    st.lists(
        st.sampled_from(["1", "2", "7", "0", "12", ".", ",", "-", "$", " ", "−", "x", "१", "\n"]),
        max_size=12,
    ).map("".join),
    st.integers(-30, 2200),
    st.sampled_from(MGSM),
)
def test_what_the_harness_counts_right_is_right(text, gold, language):
    taken = RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1).apply([[text]], [{}])[0]
    right = exact_match_hf_evaluate(taken, [str(gold)], ignore_case=True, ignore_punctuation=True)
    wanted = float(right["exact_match"])
    assert harness_number(text, str(gold)) == bool(wanted)
    assert number({"answer_number": gold}, [text], language)["exact_match"] >= wanted
    # Its own writing is right in both.
    assert number({"answer_number": gold}, [f"{text} {gold}"], language)["exact_match"] == 1.0


def test_every_answer_of_mgsm_in_the_writing_of_its_language():
    folder = os.environ.get("ADAMERGEX_DATA")
    if not folder:
        pytest.skip("ADAMERGEX_DATA names no folder with mgsm/*.tsv")
    marks = {"de": ".,", "es": ".,", "fr": "\u202f,", "ru": " ,"}
    for path in sorted(Path(folder, "mgsm").glob("*.tsv")):
        group, decimal = marks.get(path.stem, ",.")
        golds = [line.split("\t")[-1] for line in path.read_text(encoding="utf-8").splitlines()]
        assert len(golds) == 250
        for gold in golds:
            written = gold.translate({ord(","): group, ord("."): decimal})
            for said in (gold, written, f"{written}{decimal}00", f"({written})."):
                assert number({"answer": gold}, [f"3 x {said}"], path.stem)["exact_match"] == 1.0
            assert number({"answer": gold}, [f"{gold}1"], path.stem)["exact_match"] == 0.0
