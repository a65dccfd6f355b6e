"""The built-in tasks, where they are more than their templates."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks import Questions, find_task

CODES = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")


def xcopa(code, rows):
    plain = {"premise": "x", "choice1": "A", "choice2": "B", "question": "cause", "label": 0}
    asked = [{**plain, **row} for row in rows]
    return Questions(find_task("xcopa", Path()).in_language(code), asked).items


def connected(code, premises):
    """What stands before the connecting word."""
    first, *others = xcopa(code, [{"premise": premise} for premise in ("x", *premises)])
    word = first.prompt[1:]
    assert all(item.prompt.endswith(word) for item in others)
    return [item.prompt.removesuffix(word) for item in others]


@pytest.mark.parametrize("code", CODES)
def test_xcopa_cuts_a_full_stop_and_nothing_else(code):
    whole = ["ฝนตกหนัก", "மழை பெய்தது", "Really?", "Go!", "He said “no”", "so…", "so...", "5"]
    assert connected(code, whole) == whole
    assert connected(code, [f" {premise}\n" for premise in whole]) == whole
    stops = ".。．।۔።។။։"
    assert connected(code, [f"Il pleut{stop}" for stop in stops]) == ["Il pleut"] * len(stops)
    within = [f"v. 2{stop} x" for stop in stops]
    assert connected(code, within) == within
    assert connected(code, ["Il pleut ."]) == ["Il pleut"]


@settings(max_examples=10)
@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=9))
def test_xcopa_cuts_at_most_one_character(premises):
    for premise, kept in zip(premises, connected("th", premises), strict=True):
        whole = premise.strip()
        assert kept in (whole, whole[:-1].strip())
        if kept != whole:
            assert unicodedata.category(whole[-1]) == "Po"


@pytest.mark.parametrize(
    ("code", "choice", "lowered"),
    [
        ("tr", "Irmak kurudu.", " ırmak kurudu."),
        ("tr", "İnsanlar ıslandı.", " insanlar ıslandı."),
        ("it", "Il fiume.", " il fiume."),
        ("et", "Õhk.", " õhk."),
        ("zh", "他走了。", " 他走了。"),
        ("tr", "Çok.", " çok."),
    ],
)
def test_xcopa_lower_cases_as_the_language_does(code, choice, lowered):
    assert xcopa(code, [{"choice1": choice}])[0].choices[0] == lowered


def test_xcopa_with_its_real_rows():
    folder = os.environ.get("ADAMERGEX_DATA")
    if not folder:
        pytest.skip("ADAMERGEX_DATA names no folder with xcopa/LANGUAGE/test.jsonl")
    for path in sorted(Path(folder, "xcopa").glob("*/*.jsonl")):
        code = path.parent.name
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        items = Questions(find_task("xcopa", Path()).in_language(code), rows).items
        kinds = ("cause", "effect")
        asked = xcopa(code, [{"question": kind} for kind in kinds])
        words = {kind: item.prompt[1:] for kind, item in zip(kinds, asked, strict=True)}
        for row, item in zip(rows, items, strict=True):
            premise = row["premise"].strip()
            if premise[-1] in ".。":
                premise = premise[:-1]
            assert item.prompt == premise + words[row["question"]]
            assert item.choices[item.gold][2:] == row[f"choice{row['label'] + 1}"][1:]


def test_a_free_answer_needs_the_columns_that_it_is_measured_by():
    config = find_task("xquad", Path()).in_language("de")
    row = {"context": "c", "question": "q", "answers": {"text": ["x"], "answer_start": [0]}}
    assert len(Questions(config, [row]).items) == 1
    config = find_task("mgsm", Path()).in_language("de")
    with pytest.raises(InputError, match="row 1: found no number in the answer 'x'"):
        Questions(config, [{"question": "q", "answer": "5"}, {"question": "q", "answer": "x"}])


def test_the_field_that_gives_way_is_found_in_the_prompt():
    config = find_task("xlsum", Path()).in_language("en")
    rows = [{"text": " Lead. End. \n", "summary": "s"}, {"text": "", "summary": "s"}]
    assert [item.tail for item in Questions(config, rows).items] == [len(" \n\nSummary:"), 0]
    with pytest.raises(InputError, match=r"metadata\.shorten: found nothing; needed a field"):
        Questions({**config, "shorten": "nothing"}, rows)
