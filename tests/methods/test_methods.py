"""What each method puts into the comparison: none may stand in for another."""

from dataclasses import replace

import pytest

from adamergex.methods import METHODS, Workshop
from adamergex.recipe import DEMO

SCALES = (0.25, 0.5, 1.0)
RECIPE = replace(
    DEMO,
    scales=SCALES,
    merges=(("translation", "weight"), ("translation", "factor"), ("causal-lm", "factor")),
)
FIRST = "translation"


@pytest.fixture
def shop():
    return Workshop(RECIPE)


def only_row(shop, name):
    (row,) = METHODS[name](shop, "fa")
    assert row.method == name
    return row


def tried(row, shop):
    """The candidates without the one of strength 0, which must be T."""
    zero, *others = row.candidates
    assert (zero.strength, zero.adapter) == (0, shop.task_adapter("en"))
    assert [c.strength for c in others] == list(SCALES)
    return others


def test_the_names():
    assert set(METHODS) == {
        "zero-shot",
        "source-ft",
        "target-ft",
        "projection",
        "arimerge",
        "add-reference",
        "adamergex",
    }


def test_zero_shot_has_no_adapter(shop):
    (candidate,) = only_row(shop, "zero-shot").candidates
    assert candidate.adapter is None


def test_source_ft_is_t(shop):
    (candidate,) = only_row(shop, "source-ft").candidates
    assert candidate.adapter == shop.task_adapter("en")
    assert candidate.adapter.kind == "train"
    assert candidate.adapter.config["data"] == shop.task_data("en", "train")


def test_target_ft_is_the_task_in_the_target_language(shop):
    (candidate,) = only_row(shop, "target-ft").candidates
    assert candidate.adapter.config["data"] == shop.task_data("fa", "train")
    assert candidate.adapter != shop.task_adapter("en")


def test_projection_trains_on_target_text_with_the_labels_of_t(shop):
    (candidate,) = only_row(shop, "projection").candidates
    trained = candidate.adapter
    assert trained.config["data"] == shop.task_data("fa", "reference")
    labels = trained.inputs["labels"]
    assert labels.kind == "score"
    assert labels.config["data"] == shop.task_data("en", "reference")
    assert labels.inputs["adapter"] == shop.task_adapter("en")


def test_arimerge(shop):
    row = only_row(shop, "arimerge")
    for c, candidate in zip(SCALES, tried(row, shop), strict=True):
        assert candidate.adapter.kind == "arimerge"
        assert candidate.adapter.config == {"c": c}
        assert candidate.adapter.inputs == {
            "task": shop.task_adapter("en"),
            "reference_target": shop.reference(FIRST, "fa"),
            "reference_source": shop.reference(FIRST, "en"),
        }


def test_add_reference(shop):
    row = only_row(shop, "add-reference")
    for t, candidate in zip(SCALES, tried(row, shop), strict=True):
        assert candidate.adapter.kind == "add"
        assert candidate.adapter.config == {"scale": t}
        assert candidate.adapter.inputs == {
            "task": shop.task_adapter("en"),
            "reference_target": shop.reference(FIRST, "fa"),
        }


def test_adamergex_has_a_row_for_each_way_to_merge(shop):
    rows = METHODS["adamergex"](shop, "fa")
    assert [row.method for row in rows] == ["adamergex"] * 3
    assert len({row.variant for row in rows}) == 3
    for row, (name, space) in zip(rows, RECIPE.merges, strict=True):
        assert name in row.variant
        assert space in row.variant
        for t, candidate in zip(SCALES, tried(row, shop), strict=True):
            assert candidate.adapter.kind == "merge"
            assert candidate.adapter.config == {"scale": t, "space": space}
            assert candidate.adapter.inputs == {
                "task": shop.task_adapter("en"),
                "reference_target": shop.reference(name, "fa"),
                "reference_source": shop.reference(name, "en"),
            }


def test_no_two_settings_share_a_step_but_t(shop):
    rows = [row for method in METHODS.values() for row in method(shop, "fa")]
    adapters = [c.adapter for row in rows for c in row.candidates]
    t = shop.task_adapter("en")
    others = [adapter for adapter in adapters if adapter not in (None, t)]
    assert len(set(others)) == len(others) == 2 + 5 * len(SCALES)


@pytest.mark.parametrize("name", set(METHODS) - {"zero-shot", "source-ft"})
def test_each_target_has_steps_of_its_own(shop, name):
    ours, theirs = (
        {c.adapter for row in METHODS[name](shop, target) for c in row.candidates}
        for target in ("fa", "tr")
    )
    assert ours & theirs <= {shop.task_adapter("en")}


def test_the_rivals_use_the_first_reference_of_the_recipe():
    shop = Workshop(replace(RECIPE, merges=(("causal-lm", "factor"), ("translation", "weight"))))
    for name in ("arimerge", "add-reference"):
        for candidate in tried(only_row(shop, name), shop):
            assert candidate.adapter.inputs["reference_target"] == shop.reference("causal-lm", "fa")
