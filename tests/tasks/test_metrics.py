"""Measures of free answers, against definitions written down here and the packages they are of."""

import importlib.util
import re
import string
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from adamergex.tasks.metrics import harness_squad, measure, number, rouge, squad

words = st.lists(st.sampled_from(["lion", "apple", "ball", "train"]), min_size=1, max_size=6)
ASCII = st.text(st.characters(max_codepoint=127), max_size=40)
MLQA = {
    "en": "The a an of Lion's cat-like 3.5 £5 — “x”",
    "de": "Der die das des Hauses Straße, ein einer „Ja“ Öl",
    "es": "El la unos ¿Qué? niño, mañana — «sí»",
    "vi": "Của là cái những tiếng Việt: nước.",
    "hi": "भारत की राजधानी। दिल्ली, है ॥ ३",
    "ar": "القط في البيت، قال الرجل؟ نعم",
    "zh": "苹果树，GDP 是 3.5。“好” 的 人",
}
"""Text in each of MLQA's languages: punctuation, articles, case."""


def doc(*golds):
    return {"answers": {"text": list(golds)}}


def pieces(text):
    """Answers made of a text's characters and words."""
    return st.lists(st.sampled_from([*text, *text.split(), " "]), max_size=8).map("".join)


@given(words, words)
def test_f1_is_that_of_the_bags_of_words(answer, gold):
    shared = sum((Counter(answer) & Counter(gold)).values())
    wanted = 2 * shared / (len(answer) + len(gold))
    found = squad(doc(" ".join(gold)), [" ".join(answer)])
    assert found["f1"] == pytest.approx(wanted)
    assert found["exact_match"] == float(answer == gold)


def official(answer, gold):
    """SQuAD 1.1's own rules, which are for English in ASCII."""

    def normal(text):
        kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    found, wanted = normal(answer), normal(gold)
    shared = sum((Counter(found) & Counter(wanted)).values())
    f1 = 2 * shared / (len(found) + len(wanted)) if shared else 0.0
    return {"exact_match": float(found == wanted), "f1": pytest.approx(f1)}


@given(ASCII.filter(str.strip), st.lists(ASCII, min_size=1, max_size=3))
def test_english_is_measured_as_squads_script_does(answer, golds):
    each = [official(answer, gold) for gold in golds]
    for found in (squad(doc(*golds), [answer]), squad(doc(*golds), [answer], "en")):
        assert found["exact_match"] == max(score["exact_match"] for score in each)
        assert any(found["f1"] == score["f1"] for score in each)
        assert all(found["f1"] >= score["f1"].expected - 1e-12 for score in each)


@pytest.fixture(scope="module")
def mlqa():
    """MLQA's script, of which lm-evaluation-harness has a copy."""
    folder = Path(importlib.util.find_spec("lm_eval").origin).parent
    spec = importlib.util.spec_from_file_location("mlqa", folder / "tasks" / "mlqa" / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", MLQA)
@given(st.data())
def test_each_language_is_measured_as_mlqas_script_does(mlqa, language, data):
    text = pieces(MLQA[language])
    answer, golds = data.draw(text.filter(str.strip)), data.draw(st.lists(text, min_size=1))
    wanted = mlqa.process_results_lang({"answers": golds}, [answer], language)
    found = measure(f"squad_{language}")(doc(*golds), [answer])
    assert found["exact_match"] == wanted["exact_match"]
    assert found["f1"] == pytest.approx(wanted["f1"])


@pytest.mark.parametrize(
    ("language", "answer", "gold", "exact"),
    [
        (None, "The  Lion.", "lion", 1.0),
        (None, "308 sayı", "308 sayı.", 1.0),
        (None, "«лев»", "Лев", 1.0),
        (None, "سیب؟", "سیب", 1.0),
        (None, "a lion", "two lions", 0.0),
        (None, "", "lion", 0.0),
        (None, "  \n", "the", 0.0),
        ("tr", "ISPARTA ve İzmir", "ısparta ve izmir", 1.0),
        ("tr", "Isparta", "isparta", 0.0),
        ("el", "το σπίτι", "Σπίτι", 1.0),
        ("ro", "un om", "om", 1.0),
        ("ru", "a cat", "cat", 0.0),
        ("th", "ส ว น", "สวน", 1.0),
        ("eng_Latn", "the lion", "Lion", 1.0),
    ],
)
def test_what_counts_as_the_same(language, answer, gold, exact):
    assert squad(doc(gold), [answer], language)["exact_match"] == exact


def test_the_best_of_several_golds_counts():
    assert squad(doc("lion", "big lion"), ["big lion"]) == {"exact_match": 1.0, "f1": 1.0}
    assert harness_squad(doc("lion", "big lion"), ["big lion"])["exact_match"] == 0.0


def test_characters_count_where_words_are_not_parted():
    assert squad(doc("苹果树"), ["苹果"])["f1"] == pytest.approx(0.8)  # 2 of 2, 2 of 3
    assert squad(doc("สวน"), ["สวย"])["f1"] == pytest.approx(2 / 3)


@given(st.text(max_size=30), st.text(max_size=30))
def test_english_summaries_are_measured_by_rouge_score_itself(answer, gold):
    wanted = RougeScorer(["rougeL"]).score(gold, answer)["rougeL"].fmeasure
    assert rouge({"summary": gold}, [answer], "en") == {"rougeL": wanted}


@given(ASCII, ASCII)
def test_of_ascii_text_every_language_has_rouge_scores_words(answer, gold):
    wanted = RougeScorer(["rougeL"]).score(gold, answer)["rougeL"].fmeasure
    for language in (None, "sw", "de"):
        assert rouge({"summary": gold}, [answer], language) == {"rougeL": wanted}


def longest_common(one, two):
    table = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i, x in enumerate(one):
        for j, y in enumerate(two):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else longest
    return table[-1][-1]


def runs(text):
    """Runs of letters, marks and digits; Thai characters by themselves."""
    found, open_ = [], False
    for char in text.lower():
        kind = unicodedata.category(char)
        if kind == "Cf":
            continue
        if kind[0] not in "LMN":
            open_ = False
        elif "THAI" in unicodedata.name(char, ""):
            found.append(char)
            open_ = False
        elif open_:
            found[-1] += char
        else:
            found.append(char)
            open_ = True
    return found


@given(*[st.text("ลนิ์สเв'ñлеé𝟛ि क।.,’-0\u200cX ", max_size=20)] * 2)
def test_rouge_l_is_that_of_the_longest_common_subsequence(answer, gold):
    found, wanted = runs(answer), runs(gold)
    common = longest_common(found, wanted)
    expected = 2 * common / (len(found) + len(wanted)) if common else 0.0
    assert rouge({"summary": gold}, [answer])["rougeL"] == pytest.approx(expected)


def test_rouge_reads_every_script():
    assert rouge({"summary": "лев и мяч"}, ["лев, и «мяч»!"])["rougeL"] == 1.0
    assert rouge({"summary": "苹果"}, ["苹果"])["rougeL"] == 1.0
    assert rouge({"summary": "лев"}, [""])["rougeL"] == 0.0
    said = "Britain's PM, Boris Johnson, has resigned."
    assert rouge({"summary": said}, ["PM Boris Johnson has resigned"])["rougeL"] == pytest.approx(
        5 / 6
    )


@pytest.mark.parametrize(
    ("row", "answer", "right"),
    [
        ({"answer_number": 5}, "2 + 3 = 5", 1.0),
        ({"answer_number": 5.0, "answer": None}, "so $5.00.", 1.0),
        ({"answer": "2,125"}, "so 2125", 1.0),
        ({"answer": "1 + 1 = <<1+1=2>>2\n#### 1,200"}, "1200.0", 1.0),
        ({"answer": 72}, "72 or 71", 0.0),
        ({"answer": 72}, "none", 0.0),
    ],
)
def test_the_gold_number_of_a_row(row, answer, right):
    assert number(row, [answer]) == {"exact_match": right}


def test_a_row_without_a_number():
    with pytest.raises(ValueError, match="no number in the answer 'x'"):
        number({"answer": "x"}, ["1"])


@pytest.mark.parametrize("name", ["", "squad_", "bleu", "harness_squad_de", "_de", "measure"])
def test_names_that_are_no_measure(name):
    assert measure(name) is None
