"""What each method puts into the comparison: none may stand in for another."""

from pathlib import Path

import pytest

from adamergex.errors import InputError
from adamergex.methods import METHODS, Workshop
from adamergex.recipe import demo_recipe
from adamergex.step import in_order
from adamergex.tasks import PLAIN, asked, examples

SCALES = (0.25, 0.5, 1.0)
CAUSAL = "{task: causal-lm, text: emoji, training: {num_train_epochs: 1}}"
TRANSLATION = "{task: translation, text: emoji}"


def shop_of(*changes, references=(CAUSAL, TRANSLATION), seed=0):
    fixed = (
        f"methods=[{', '.join(METHODS)}]",
        f"reference=[{', '.join(references)}]",
        "scale.grid=[0, 0.25, 0.5, 1.0]",
        "merge.space=[weight, factor]",
    )
    return Workshop(demo_recipe((*fixed, *changes)), "emoji", seed)


@pytest.fixture
def shop():
    return shop_of()


def rows_of(shop, name, target="fa"):
    return METHODS[name](shop, target)


def only_row(shop, name):
    (row,) = rows_of(shop, name)
    assert row.method == name
    return row


def only_adapter(shop, name):
    (setting,) = only_row(shop, name).settings
    return setting.adapter


def tried(row, shop):
    """The settings without the one of scale 0, which must be T."""
    zero, *others = row.settings
    assert (zero.scale, zero.adapter) == (0, shop.task_adapter("en"))
    assert [c.scale for c in others] == list(SCALES)
    return [c.adapter for c in others]


def first(shop, language):
    return shop.reference(shop.recipe.reference[0], language)


def three(shop, target="fa"):
    return {
        "task": shop.task_adapter("en"),
        "reference_target": first(shop, target),
        "reference_source": first(shop, "en"),
    }


def data_of(step):
    return step.config["data"]


def test_the_names():
    assert list(METHODS) == [
        "zero-shot", "xlt", "source-ft", "target-ft", "target-ft-fresh", "few-shot", "projection",
        "projection-from-t", "projection-soft", "projection-with-source", "ensemble", "arimerge",
        "madx", "lt-sft", "language-task-arithmetic", "layer-swapping", "add-reference",
        "adamergex",
    ]  # fmt: skip


def test_zero_shot_and_xlt_have_no_adapter_and_ask_in_their_own_way(shop):
    for name, prompting in (("zero-shot", ""), ("xlt", "xlt")):
        assert only_adapter(shop, name) is None
        assert only_row(shop, name).prompting == prompting
    assert only_row(shop, "ensemble").members
    for name in set(METHODS) - {"xlt"}:
        assert not any(row.prompting for row in rows_of(shop, name))


def test_source_ft_is_t(shop):
    adapter = only_adapter(shop, "source-ft")
    assert adapter.kind == "train"
    assert adapter == shop.task_adapter("en")
    assert data_of(adapter) == shop.catalog.rows(shop.task, "en", "train").config


def test_target_ft_is_the_task_in_the_target_language_from_t_and_afresh(shop):
    rows = shop.catalog.rows(shop.task, "fa", "train").config
    oracle, fresh = (only_adapter(shop, name) for name in ("target-ft", "target-ft-fresh"))
    assert data_of(oracle) == data_of(fresh) == rows
    assert fresh == shop.task_adapter("fa")
    assert oracle.inputs == {**fresh.inputs, "start": shop.task_adapter("en")}


def test_few_shot_goes_on_from_t_on_dev_labels_alone():
    shop = shop_of("training.per_step.few-shot.learning_rate=7e-4")
    adapter = only_adapter(shop, "few-shot")
    assert adapter.inputs["start"] == shop.task_adapter("en")
    assert data_of(adapter) == shop.catalog.rows(shop.task, "fa", "dev").config
    assert adapter.config["training"]["learning_rate"] == 7e-4
    assert shop.task_adapter("en").config["training"]["learning_rate"] != 7e-4


def test_projection_trains_on_target_text_with_the_labels_of_t(shop):
    adapter, on = (only_adapter(shop, name) for name in ("projection", "projection-from-t"))
    assert data_of(adapter) == data_of(on)
    assert on.inputs == {**adapter.inputs, "start": shop.task_adapter("en")}
    reference = shop.recipe.reference[0]
    wanted = shop.catalog.unlabelled(shop.task, reference, "fa", projected=True).config
    assert data_of(adapter) == wanted
    labels = adapter.inputs["labels"]
    assert labels.kind == "score"
    assert data_of(labels) == shop.catalog.unlabelled(shop.task, reference, "en").config
    assert labels.inputs["adapter"] == shop.task_adapter("en")


def test_soft_projection_learns_what_distillation_does_from_the_untrained_adapter(shop):
    learnt = only_adapter(shop, "projection-soft")
    reference = shop.recipe.reference[0].model_copy(update={"task": "distillation"})
    from_t = shop.reference(reference, "fa")
    assert (learnt.kind, learnt.inputs["start"]) == ("distil", shop.start())
    assert learnt.inputs == {**from_t.inputs, "start": shop.start()}
    assert data_of(learnt) == data_of(from_t)
    changed = shop_of("training.per_step.projection-soft.learning_rate=7e-4")
    assert only_adapter(changed, "projection-soft").config["training"]["learning_rate"] == 7e-4


def test_projected_labels_are_learnt_beside_gold_source_labels(shop):
    both, projected = (only_adapter(shop, n) for n in ("projection-with-source", "projection"))
    gold = shop.catalog.rows(shop.task, "en", "train").config
    assert data_of(both) == {"rows": "together", "of": [gold, data_of(projected)]}
    assert both.inputs == projected.inputs
    rows, labels = data_of(both), list(range(8)) * 400
    ours = examples(rows, both.files, labels[: len(asked(rows["of"][1], both.files).places)])
    theirs = examples(rows["of"][1], both.files, labels[: len(ours) - len(examples(gold, {}))])
    assert ours == [*examples(gold, {}), *theirs]
    assert len(asked(rows, both.files).items) == len(ours)


def test_the_ensemble_is_of_t_and_of_projection_from_t(shop):
    members = only_row(shop, "ensemble").members
    assert members == (shop.task_adapter("en"), only_adapter(shop, "projection-from-t"))


def test_arimerge(shop):
    """T's coefficient goes from 1 to 0.84."""
    for t, adapter in zip(SCALES, tried(only_row(shop, "arimerge"), shop), strict=True):
        assert adapter.kind == "arimerge"
        assert adapter.config == {"c0": pytest.approx(1 - 0.16 * t)}
        assert adapter.inputs == three(shop)


def test_madx_trains_the_task_on_the_source_language_and_uses_it_on_the_target(shop):
    stacked = only_adapter(shop, "madx")
    assert stacked.kind == "weighted"
    assert stacked.config["weights"] == {"task": 1.0, "language": 1.0}
    task, language = stacked.inputs["task"], stacked.inputs["language"]
    assert data_of(task) == data_of(shop.task_adapter("en"))
    assert task != shop.task_adapter("en")
    beneath = task.inputs["beneath"]
    assert data_of(beneath) == shop.catalog.plain(shop.recipe.reference[0], "en").config
    assert data_of(language) == shop.catalog.plain(shop.recipe.reference[0], "fa").config
    # With causal LM as the reference task, its adapters are the language adapters: trained once.
    assert (beneath, language) == (first(shop, "en"), first(shop, "fa"))


def test_the_language_adapters_of_madx_learn_language_whatever_the_reference_task():
    shop = shop_of(references=(TRANSLATION,))
    language = only_adapter(shop, "madx").inputs["language"]
    assert data_of(language)["reference"] == PLAIN
    assert language != first(shop, "fa")


def test_lt_sft_adds_two_sparse_fine_tunings(shop):
    added = only_adapter(shop, "lt-sft")
    assert added.kind == "add-sparse"
    task, language = added.inputs["task"], added.inputs["language"]
    assert {task.kind, language.kind} == {"train-sparse"}
    assert data_of(task) == data_of(shop.task_adapter("en"))
    assert data_of(language) == shop.catalog.plain(shop.recipe.reference[0], "fa").config
    beneath = task.inputs["beneath"]
    assert (beneath.kind, "beneath" in language.inputs) == ("train-sparse", False)
    assert data_of(beneath) == shop.catalog.plain(shop.recipe.reference[0], "en").config
    assert task.config["density"] == language.config["density"] == 0.05


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("add-reference", lambda t: {"task": 1.0, "reference_target": t}),
        (
            "language-task-arithmetic",
            lambda t: {"task": 1 - t, "reference_target": t, "reference_source": -t},
        ),
    ],
)
def test_weighted_sums(shop, name, weights):
    for t, adapter in zip(SCALES, tried(only_row(shop, name), shop), strict=True):
        assert adapter.kind == "weighted"
        assert adapter.config == {"rule": name, "weights": weights(t), "scale": t}
        assert adapter.inputs == {role: three(shop)[role] for role in weights(t)}


def test_layer_swapping_takes_no_source_reference(shop):
    for t, adapter in zip(SCALES, tried(only_row(shop, "layer-swapping"), shop), strict=True):
        assert (adapter.kind, adapter.config) == ("layer-swap", {"scale": t})
        assert set(adapter.inputs) == {"task", "reference_target"}


def test_adamergex_has_a_row_for_each_way_to_merge_and_one_of_them_all(shop):
    *rows, headline = rows_of(shop, "adamergex")
    ways = [(r, space) for r in shop.recipe.reference for space in ("weight", "factor")]
    assert [row.variant for row in rows] == [f"{r.title}, {space}" for r, space in ways]
    for row, (reference, space) in zip(rows, ways, strict=True):
        for t, adapter in zip(SCALES, tried(row, shop), strict=True):
            assert adapter.kind == "merge"
            assert adapter.config == {"scale": t, "space": space, "rank": "exact"}
            assert adapter.inputs == shop.references(reference, "fa")
    assert (headline.headline, [row.headline for row in rows]) == (True, [False] * 4)
    zero, *merges = headline.settings
    assert (zero.scale, zero.adapter) == (0, shop.task_adapter("en"))
    assert [s.adapter for s in merges] == [a for row in rows for a in tried(row, shop)]
    assert len({s.label for s in headline.settings}) == 1 + 4 * len(SCALES)


def test_where_there_is_one_way_to_merge_it_is_the_headline():
    shop = shop_of("merge.space=factor", references=(CAUSAL,))
    assert only_row(shop, "adamergex").headline


@pytest.mark.parametrize(
    ("adapter", "config"),
    [
        ("{type: ia3}", {"scale": 0.25, "ia3": "geometric"}),
        ("{type: prefix, num_virtual_tokens: 4}", {"scale": 0.25}),
    ],
)
def test_other_structures_have_one_space(adapter, config):
    shop = shop_of(f"adapter={adapter}", "merge.ia3=geometric", references=(CAUSAL,))
    row = only_row(shop, "adamergex")
    assert tried(row, shop)[0].config == config


def test_a_fixed_scale_is_the_only_one():
    shop = shop_of("scale={select: fixed, grid: [0.7]}", references=(CAUSAL,))
    for name in ("adamergex", "arimerge", "add-reference"):
        for row in rows_of(shop, name):
            (setting,) = row.settings
            assert setting.scale == 0.7
            assert setting.adapter.kind != "train"


@pytest.mark.parametrize(
    ("reference", "labelled"), [("self-labelled", "fa"), ("projected-labels", "en")]
)
def test_references_labelled_by_t(reference, labelled):
    """On each language's own text, or on the source side of parallel text."""
    shop = shop_of(references=(f"{{task: {reference}, text: emoji}}",))
    (it,) = shop.recipe.reference
    rt, rs = shop.reference(it, "fa"), shop.reference(it, "en")
    for adapter, language, own in ((rt, "fa", labelled), (rs, "en", "en")):
        asked = shop.catalog.unlabelled(shop.task, it, language, projected=own != language)
        assert data_of(adapter) == asked.config
        labels = adapter.inputs["labels"]
        assert data_of(labels) == shop.catalog.unlabelled(shop.task, it, own).config
        assert labels.inputs["adapter"] == shop.task_adapter("en")


def test_a_labelled_task_may_be_the_reference():
    shop = shop_of("methods=[adamergex]", references=("{task: emoji, max_samples: 9}",))
    found = data_of(first(shop, "fa"))
    assert found == {**shop.catalog.rows(shop.task, "fa", "train").config, "max_samples": 9}


@pytest.mark.parametrize("counterpart", ["copy", "shuffled", "dropped"])
def test_what_rs_reads_where_rt_translates(counterpart):
    shop = shop_of(references=(f"{{task: translation, text: emoji, counterpart: {counterpart}}}",))
    rt, rs = data_of(first(shop, "fa")), data_of(first(shop, "en"))
    assert "counterpart" not in rt
    assert rs["counterpart"] == counterpart
    assert rt["source_lines"] == rs["source_lines"] == rs["lines"] != rt["lines"]
    assert rt["into"] == rs["into"] == "English"


def test_a_reference_without_its_text_is_refused():
    with pytest.raises(InputError, match="reference: text: found none"):
        first(shop_of(references=("{task: cloze}",)), "fa")
    shop = shop_of(references=("{task: translation, text: emoji, counterpart: paraphrase}",))
    with pytest.raises(InputError, match="paraphrases: found none"):
        first(shop, "en")


def test_distillation_starts_from_t_and_rs_is_t():
    recipe = demo_recipe(["reference=[{task: distillation, text: emoji}]"])
    shop = Workshop(recipe, "emoji", 0)
    found = shop.references(recipe.reference[0], "fa")
    assert found["reference_source"] == found["task"] == shop.task_adapter("en")
    learnt = found["reference_target"]
    assert (learnt.kind, learnt.inputs["start"]) == ("distil", found["task"])
    asked = learnt.inputs["taught"]
    assert asked.inputs["adapter"] == found["task"]
    # What T reads is the source text that the target text is parallel to, and it sees no label.
    assert asked.config["data"]["lines"] == learnt.config["data"]["source_lines"]
    assert asked.config["data"]["rows"] == learnt.config["data"]["rows"] == "unlabelled"
    assert learnt != shop.references(recipe.reference[0], "tr")["reference_target"]


@pytest.mark.parametrize(
    "name", sorted(set(METHODS) - {"zero-shot", "xlt", "source-ft", "ensemble"})
)
def test_each_target_has_steps_of_its_own(shop, name):
    ours, theirs = (
        {c.adapter for row in rows_of(shop, name, target) for c in row.settings}
        for target in ("fa", "tr")
    )
    assert ours & theirs <= {shop.task_adapter("en")}


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"zero-shot", "xlt", "ensemble"}))
def test_each_seed_trains_its_own(name):
    ours, theirs = (
        {c.adapter for row in rows_of(shop_of(seed=seed), name) for c in row.settings}
        for seed in (0, 1)
    )
    assert not ours & theirs


def test_no_two_methods_share_a_setting_but_t(shop):
    rows = [row for name in METHODS for row in rows_of(shop, name) if not row.headline]
    adapters = [c.adapter for row in rows for c in row.settings]
    others = [a for a in adapters if a not in (None, shop.task_adapter("en"))]
    # The nine without a scale, four with one, and four ways of AdaMergeX.
    assert len(set(others)) == len(others) == 9 + (4 + 4) * len(SCALES)


def test_a_local_model_is_known_by_what_it_is_and_not_by_where(tmp_path):
    steps = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
        steps.append(shop_of(f"model={tmp_path / place}").task_adapter("en"))
    assert steps[0] == steps[1]
    (tmp_path / "there" / "config.json").write_text("{ }")
    assert shop_of(f"model={tmp_path / 'there'}").task_adapter("en") != steps[0]
    for step in in_order([steps[0]]):
        assert str(tmp_path) not in str(step.config)
        assert Path(tmp_path / "here") in step.files.values()
