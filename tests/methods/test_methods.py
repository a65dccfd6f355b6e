"""What each method puts into the comparison: none may stand in for another."""

from dataclasses import replace

import pytest

from adamergex.methods import METHODS, Workshop
from adamergex.recipe import DEMO
from adamergex.step import Step

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
    """The settings without the one of scale 0, which must be T."""
    zero, *others = row.settings
    assert (zero.scale, zero.adapter) == (0, shop.task_adapter("en"))
    assert [c.scale for c in others] == list(SCALES)
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
    (setting,) = only_row(shop, "zero-shot").settings
    assert setting.adapter is None


def test_source_ft_is_t(shop):
    (setting,) = only_row(shop, "source-ft").settings
    assert setting.adapter == shop.task_adapter("en")
    assert setting.adapter.kind == "train"
    assert setting.adapter.config["data"] == shop.task_data("en", "train")


def test_target_ft_is_the_task_in_the_target_language(shop):
    (setting,) = only_row(shop, "target-ft").settings
    assert setting.adapter.config["data"] == shop.task_data("fa", "train")
    assert setting.adapter != shop.task_adapter("en")


def test_projection_trains_on_target_text_with_the_labels_of_t(shop):
    (setting,) = only_row(shop, "projection").settings
    trained = setting.adapter
    assert trained.config["data"] == shop.task_data("fa", "reference")
    labels = trained.inputs["labels"]
    assert labels.kind == "score"
    assert labels.config["data"] == shop.task_data("en", "reference")
    assert labels.inputs["adapter"] == shop.task_adapter("en")


def test_arimerge(shop):
    row = only_row(shop, "arimerge")
    for c, setting in zip(SCALES, tried(row, shop), strict=True):
        assert setting.adapter.kind == "arimerge"
        assert setting.adapter.config == {"c": c}
        assert setting.adapter.inputs == {
            "task": shop.task_adapter("en"),
            "reference_target": shop.reference(FIRST, "fa"),
            "reference_source": shop.reference(FIRST, "en"),
        }


def test_add_reference(shop):
    row = only_row(shop, "add-reference")
    for t, setting in zip(SCALES, tried(row, shop), strict=True):
        assert setting.adapter.kind == "add"
        assert setting.adapter.config == {"scale": t}
        assert setting.adapter.inputs == {
            "task": shop.task_adapter("en"),
            "reference_target": shop.reference(FIRST, "fa"),
        }


def test_adamergex_has_a_row_for_each_way_to_merge(shop):
    *rows, headline = METHODS["adamergex"](shop, "fa")
    assert [row.method for row in rows] == ["adamergex"] * 3
    assert len({row.variant for row in (*rows, headline)}) == 4
    for row, (name, space) in zip(rows, RECIPE.merges, strict=True):
        assert name in row.variant
        assert space in row.variant
        for t, setting in zip(SCALES, tried(row, shop), strict=True):
            assert setting.adapter.kind == "merge"
            assert setting.adapter.config == {"scale": t, "space": space}
            assert setting.adapter.inputs == {
                "task": shop.task_adapter("en"),
                "reference_target": shop.reference(name, "fa"),
                "reference_source": shop.reference(name, "en"),
            }


def test_the_last_row_of_adamergex_has_every_merge_of_the_others(shop):
    *rows, headline = METHODS["adamergex"](shop, "fa")
    assert (headline.method, headline.variant) == ("adamergex", "best on dev")
    zero, *merges = headline.settings
    assert (zero.scale, zero.label, zero.adapter) == (0, "t=0", shop.task_adapter("en"))
    wanted = [
        (setting.scale, f"{row.variant}, {setting.label}", setting.adapter)
        for row in rows
        for setting in tried(row, shop)
    ]
    assert [(s.scale, s.label, s.adapter) for s in merges] == wanted
    assert len({s.label for s in headline.settings}) == 1 + 3 * len(SCALES)


def test_one_row_of_all_answers_what_to_deploy(shop):
    rows = [row for method in METHODS.values() for row in method(shop, "fa")]
    assert [row.variant for row in rows if row.headline] == ["best on dev"]


def test_no_two_settings_share_a_step_but_t(shop):
    """Apart from the headline row, whose settings are those of other rows."""
    rows = [row for method in METHODS.values() for row in method(shop, "fa") if not row.headline]
    adapters = [c.adapter for row in rows for c in row.settings]
    t = shop.task_adapter("en")
    others = [adapter for adapter in adapters if adapter not in (None, t)]
    assert len(set(others)) == len(others) == 2 + 5 * len(SCALES)


@pytest.mark.parametrize("name", set(METHODS) - {"zero-shot", "source-ft"})
def test_each_target_has_steps_of_its_own(shop, name):
    ours, theirs = (
        {c.adapter for row in METHODS[name](shop, target) for c in row.settings}
        for target in ("fa", "tr")
    )
    assert ours & theirs <= {shop.task_adapter("en")}


def test_the_rivals_use_the_first_reference_of_the_recipe():
    shop = Workshop(replace(RECIPE, merges=(("causal-lm", "factor"), ("translation", "weight"))))
    for name in ("arimerge", "add-reference"):
        for setting in tried(only_row(shop, name), shop):
            assert setting.adapter.inputs["reference_target"] == shop.reference("causal-lm", "fa")


def test_where_dev_may_have_left_t_alone_its_own_score_is_at_hand(shop):
    choice = Step("select", {"scales": [0.0]}, {"adapter.0": shop.task_adapter("en")})
    for split in ("dev", "test"):
        score = shop.scored(choice, "fa", split)
        assert score.inputs["unchanged"] == shop.scored(shop.task_adapter("en"), "fa", split)
        assert score.inputs["adapter"] == choice
    for adapter in (None, shop.task_adapter("en"), shop.task_adapter("fa")):
        assert "unchanged" not in shop.scored(adapter, "fa", "test").inputs
