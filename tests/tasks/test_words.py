"""Words replaced from a bilingual list: which, how many, and always the same."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks import word_source
from adamergex.tasks.row import Row
from adamergex.tasks.words import LEAST, WordList, swapped_rows

PAIRS = [
    ("city", "mji"), ("run", "kimbia"), ("run", "kukimbia"), ("big", "kubwa"), ("a lot", "sana"),
    ("house", "nyumba"), ("baking soda", "magadi"), ("soda", "soda ya kunywa"), ("is", "ni"),
]  # fmt: skip
LIST = WordList(PAIRS, "English")
KNOWN = ("city", "big", "house", "is")
lines = st.lists(st.sampled_from([*KNOWN, "of", "xyzzy", "42", "the"]), max_size=30).map(" ".join)
shares = st.floats(0.01, 1.0)


def swapped(text, share=1.0, seed=0, words=LIST):
    return words.swapped(text, share, random.Random(seed))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The big city.", "The kubwa mji."),
        ("Big cities, two houses", "Kubwa mji, two nyumba"),
        ("the city's walls", "the mji walls"),
        ("baking soda is soda", "magadi ni soda ya kunywa"),
        ("baking, soda", "baking, soda ya kunywa"),
        ("I like it a lot!", "I like it sana!"),
        ("HOUSE of 3 pits", "Nyumba of 3 pits"),
        ("", ""),
    ],
)
def test_what_becomes_of_a_line(text, wanted):
    """Longest entries first, case and what stands between words kept, inflections by their stem."""
    assert swapped(text)[0] == wanted


@pytest.mark.parametrize("word", ["running", "runs", "Runs"])
def test_an_inflected_word_has_the_translations_of_its_stem(word):
    assert {swapped(word, seed=seed)[0].lower() for seed in range(9)} == {"kimbia", "kukimbia"}


def test_a_language_without_a_stemmer_has_exact_words_only():
    assert swapped("cities city", words=WordList(PAIRS, "Swahili"))[0] == "cities mji"


@settings(max_examples=60)
@given(lines, shares, st.integers(0, 99))
def test_the_share_is_kept_and_words_that_are_unknown_stay(text, share, seed):
    found, known, total = swapped(text, share, seed)
    words, after = text.split(), found.split()
    assert (known, total) == (
        sum(word in KNOWN for word in words),
        sum(word.isalpha() for word in words),
    )
    assert len(after) == len(words)
    changed = [a != b for a, b in zip(words, after, strict=True)]
    assert abs(sum(changed) - share * known) < 1
    assert not any(x and word not in KNOWN for x, word in zip(changed, words, strict=True))
    if share == 1:
        assert sum(changed) == known


@settings(max_examples=30)
@given(st.lists(lines, min_size=1, max_size=6), shares, st.integers(0, 99))
def test_the_same_seed_gives_the_same_rows_whatever_was_drawn_before(word_file, texts, share, seed):
    source, files = word_file
    wanted = {
        "source": source, "fields": ["text"], "share": share, "seed": seed, "language": "English",
    }  # fmt: skip
    rows = [Row({"text": f"{text} a big house is a city", "label": 1}) for text in texts]
    one, known = swapped_rows(wanted, rows, files)
    random.random()
    other, same = swapped_rows(wanted, rows, files)
    assert (one, known) == (other, same)
    assert known >= LEAST
    assert [row["label"] for row in one] == [1] * len(rows)
    assert rows[0]["text"].endswith("a big house is a city")  # what was given is as it was
    assert swapped_rows(wanted, rows[:1], files)[0] == one[:1]


def test_over_many_lines_each_translation_and_the_share_come_up():
    found = [swapped("run", 0.5, seed)[0] for seed in range(400)]
    counts = {word: found.count(word) for word in ("run", "kimbia", "kukimbia")}
    assert abs(counts["run"] - 200) < 50
    assert abs(counts["kimbia"] - 100) < 40
    assert sum(counts.values()) == 400


@pytest.fixture(scope="module")
def word_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    (folder / "en_sw.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    return word_source("en_sw.tsv", folder)


@pytest.mark.parametrize(
    ("content", "text", "says"),
    [
        ("mji\tcity\n", "a big city", "found 0% of the text's words; needed 10% or more: words of"),
        ("city\tmji\n", " ".join(["word"] * 15 + ["city"]), "found 6% of the text's words"),
        ("city\n", "a big city", "row 0: found 1 field (line 1); needed 2"),
        ("city\t\n", "a big city", "row 0: found no translation (line 1); needed two columns"),
        ("city\tmji\tx\n", "a big city", "row 0: found 3 fields (line 1); needed 2"),
        ("", "a big city", "words.tsv: found"),
    ],
)
def test_a_list_that_is_none_is_named(tmp_path, content, text, says):
    (tmp_path / "words.tsv").write_text(content)
    source, files = word_source("words.tsv", tmp_path)
    wanted = {"source": source, "fields": ["text"], "share": 1.0, "seed": 0, "language": "English"}
    with pytest.raises(InputError) as raised:
        swapped_rows(wanted, [Row({"text": text})], files)
    assert says in str(raised.value)
    assert "words.tsv" in str(raised.value)


def test_a_list_is_csv_or_tsv(tmp_path):
    (tmp_path / "words.txt").write_text("city mji\n")
    with pytest.raises(InputError, match=r"file name: found .txt; needed csv or tsv"):
        word_source("words.txt", tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [({"title": "x"}, "field: found text; needed a column: title"), ({"text": None}, "found null")],
)
def test_a_field_that_holds_no_text_is_named(word_file, row, says):
    source, files = word_file
    wanted = {"source": source, "fields": ["text"], "share": 1.0, "seed": 0, "language": "English"}
    with pytest.raises(InputError, match=says):
        swapped_rows(wanted, [Row(row)], files)
