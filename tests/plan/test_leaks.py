"""Test items that training rows, reference text or dev rows have too are found by their content."""

import json
import logging

import pytest

from adamergex.errors import InputError
from adamergex.plan import check_leaks, planned
from adamergex.recipe import demo_recipe, recipe_from

LANGUAGES = ("en", "sw", "ha")
SPLITS = ("train", "dev", "test")
TASK = """
task: t
output_type: multiple_choice
doc_to_text: '{{text}} is'
doc_to_choice: [odd, even]
doc_to_target: label
metric_list: [{metric: acc}]
"""


def words(split, language, n=120):
    return [f"{language} {split} line {i}" for i in range(n)]


def csv(rows):
    return "\n".join(["text,label", *(f"{row},{i % 2}" for i, row in enumerate(rows))]) + "\n"


@pytest.fixture
def checked(tmp_path):
    """Writes a task's files and parallel text, some with other lines, and checks the recipe."""

    def check(changes=(), **recipe):
        changes = dict(changes)
        for language in LANGUAGES:
            for split in (*SPLITS, "items", "reference"):
                rows = changes.get((split, language), words(split, language))
                (tmp_path / f"{split}-{language}.csv").write_text(csv(rows))
            (tmp_path / f"{language}.txt").write_text("\n".join(rows) + "\n")
        (tmp_path / "words.tsv").write_text("".join(f"{w}\t{w[::-1]}\n" for w in ("line", "en")))
        (tmp_path / "t.yaml").write_text(TASK)
        found = recipe_from(
            json.dumps(
                {
                    "model": "x/y", "source": "en", "targets": ["sw"], "tasks": ["t.yaml"],
                    "data_files": {"t": {split: f"{split}-{{language}}.csv" for split in SPLITS}},
                    "reference": {"task": "causal-lm", "text": "{language}.txt"},
                    "methods": ["source-ft", "target-ft", "projection", "adamergex"],
                    **recipe,
                }
            ),
            "r.yaml",
            tmp_path,
        )  # fmt: skip
        check_leaks(found, planned(found))

    return check


def copied(split, language, own=None):
    """The split's rows, the last two of which are test items, written a little otherwise."""
    test = [row.upper().replace(" ", "  ") for row in words("test", own or language)[:2]]
    return {(split, language): words(split, language)[:-2] + test}


def test_texts_that_differ_pass(checked, caplog):
    checked()
    assert not caplog.records


@pytest.mark.parametrize(
    ("split", "language"),
    [("train", "en"), ("train", "sw"), ("dev", "sw"), ("reference", "en"), ("reference", "sw")],
)
def test_test_items_elsewhere_are_refused(checked, caplog, split, language):
    """In any language: of parallel text, a leak into the source text is one into the target's."""
    with pytest.raises(InputError) as raised:
        checked(copied(split, language))
    said = str(raised.value)
    assert "found 2 of 120 also in" in said
    assert f"'{language} test line 0'" in said
    assert language in said.split(":")[0]
    with caplog.at_level(logging.WARNING, "adamergex"):
        checked(copied(split, language), leaks="tell")
    assert f"{language}: test items: 2 of 120 also in" in caplog.text


FIELD = {"task": "distillation", "field": "text"}


@pytest.mark.parametrize(
    ("reference", "split", "language", "own"),
    [
        ({**FIELD, "text": "{language}.txt"}, "reference", "en", "en"),
        ({**FIELD, "text": "{language}.txt"}, "reference", "sw", "sw"),
        ({"task": "reading", "text": "{language}.txt"}, "reference", "en", "en"),
        ({"task": "reading", "text": "{language}.txt"}, "reference", "sw", "sw"),
        ({**FIELD, "items": "items-{language}.csv"}, "items", "en", "en"),
        ({**FIELD, "items": "items-{language}.csv"}, "items", "sw", "sw"),
        ({**FIELD, "words": "words.tsv", "text": "{language}.txt"}, "reference", "en", "en"),
        ({**FIELD, "words": "words.tsv"}, "train", "en", "en"),
        ({**FIELD, "text": "{language}.txt", "languages": ["ha", "sw"]}, "reference", "ha", "sw"),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
@pytest.mark.parametrize("select", ["fixed", "divergence"])
def test_whatever_is_distilled_is_looked_at(checked, reference, split, language, own, select):
    """Items, text with words replaced (as it was), other languages, what T teaches about."""
    grid = {"grid": [0.5], "select": select}
    more = {"reference": reference, "methods": ["source-ft", "adamergex"], "scale": grid}
    checked(**more)
    with pytest.raises(InputError, match=f"'{own} test line 0'"):
        checked(copied(split, language, own), **more)


def test_a_line_in_a_hundred_is_told(checked, caplog):
    own = words("reference", "sw")[:-1]
    with caplog.at_level(logging.WARNING, "adamergex"):
        checked({("reference", "sw"): [*own, words("test", "sw")[0]]})
    assert "1 of 120 also in what is learnt from" in caplog.text


def test_the_demo_has_no_leak(caplog):
    recipe = demo_recipe(["targets=[ar,de,es,fa,fr,id,it,ja,ko,pt,ru,tr,zh]"])
    check_leaks(recipe, planned(recipe))
    assert not caplog.records
