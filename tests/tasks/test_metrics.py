"""Measures of free answers, against counting by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.tasks.metrics import rouge, squad

words = st.lists(st.sampled_from(["lion", "apple", "ball", "train"]), min_size=1, max_size=6)


def doc(*golds):
    return {"answers": {"text": list(golds)}}


@given(words, words)
def test_f1_is_that_of_the_bags_of_words(answer, gold):
    shared = sum((Counter(answer) & Counter(gold)).values())
    wanted = 2 * shared / (len(answer) + len(gold))
    found = squad(doc(" ".join(gold)), [" ".join(answer)])
    assert found["f1"] == pytest.approx(wanted)
    assert found["exact_match"] == float(answer == gold)


@pytest.mark.parametrize(
    ("answer", "gold", "exact"),
    [
        ("The  Lion.", "lion", 1.0),
        ("308 sayı", "308 sayı.", 1.0),
        ("«лев»", "Лев", 1.0),
        ("سیب؟", "سیب", 1.0),
        ("a lion", "two lions", 0.0),
        ("", "lion", 0.0),
        ("  \n", "the", 0.0),
    ],
)
def test_what_counts_as_the_same(answer, gold, exact):
    assert squad(doc(gold), [answer])["exact_match"] == exact


def test_the_best_of_several_golds_counts():
    assert squad(doc("lion", "big lion"), ["big lion"]) == {"exact_match": 1.0, "f1": 1.0}


def test_characters_count_where_words_are_not_parted():
    assert squad(doc("苹果树"), ["苹果"])["f1"] == pytest.approx(0.8)  # 2 of 2, 2 of 3
    assert squad(doc("สวน"), ["สวย"])["f1"] == pytest.approx(2 / 3)


def longest_common(one, two):
    table = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i, x in enumerate(one):
        for j, y in enumerate(two):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else longest
    return table[-1][-1]


@given(words, words)
def test_rouge_l_is_that_of_the_longest_common_subsequence(answer, gold):
    common = longest_common(answer, gold)
    wanted = 2 * common / (len(answer) + len(gold))
    found = rouge({"summary": " ".join(gold)}, [" ".join(answer)])
    assert found["rougeL"] == pytest.approx(wanted)


def test_rouge_reads_every_script():
    assert rouge({"summary": "лев и мяч"}, ["лев и мяч"])["rougeL"] == 1.0
    assert rouge({"summary": "苹果"}, ["苹果"])["rougeL"] == 1.0
    assert rouge({"summary": "лев"}, [""])["rougeL"] == 0.0
