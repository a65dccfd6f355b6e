"""What a step reads from the Hub is part of what it is: a commit, and a new one makes it anew."""

import json

import pytest

from adamergex.errors import InputError
from adamergex.plan import planned
from adamergex.recipe import recipe_from
from adamergex.run.provenance import commits
from adamergex.step import in_order
from adamergex.tasks.sources import hub_source, rows

RECIPE = {
    "model": "org/model",
    "source": "en",
    "targets": ["sw"],
    "tasks": ["sib200"],
    "reference": [{"task": "causal-lm", "text": "wikipedia"}],
    "methods": ["zero-shot", "source-ft", "adamergex"],
}
MODEL, DATA, TEXT = "org/model", "Davlan/sib200", "wikimedia/wikipedia"


def plan(monkeypatch, tmp_path, **at):
    """The steps by kind and label, with each repository at the commit that is named."""
    known = {MODEL: at.get("model"), DATA: at.get("data"), TEXT: at.get("text")}
    found = {name: digit and digit * 40 for name, digit in known.items()}

    def commit(repository, kind, revision=None):
        assert kind == ("model" if repository == MODEL else "dataset")
        return found[repository]

    monkeypatch.setattr("adamergex.checkpoint.hub.commit", commit)
    monkeypatch.setattr("adamergex.tasks.sources.commit", commit)
    steps = in_order([planned(recipe_from(json.dumps(RECIPE), "recipe", tmp_path))])
    return {(step.kind, step.label): step for step in steps}


@pytest.fixture
def plan_at(monkeypatch, tmp_path):
    return lambda **at: plan(monkeypatch, tmp_path, **at)


def changed(before, after):
    assert before.keys() == after.keys()
    return {label for (kind, label), step in after.items() if step != before[kind, label]}


def test_a_new_commit_of_the_model_makes_every_step_anew(plan_at):
    before = plan_at(model="1", data="1", text="1")
    assert changed(before, plan_at(model="1", data="1", text="1")) == set()
    assert changed(before, plan_at(model="2", data="1", text="1")) == {x for _, x in before}


def test_a_new_commit_of_data_makes_anew_what_comes_of_it_and_nothing_else(plan_at):
    before = plan_at(model="1", data="1", text="1")
    found = changed(before, plan_at(model="1", data="1", text="2"))
    assert {"train causal-lm, en", "train causal-lm, sw", "results"} <= found
    assert not {"prepare the model", "train sib200, en", "score source-ft, sw"} & found
    found = changed(before, plan_at(model="1", data="2", text="1"))
    assert {"train sib200, en", "score source-ft, sw", "results"} <= found
    assert not {"prepare the model", "train causal-lm, en", "train causal-lm, sw"} & found


def test_every_step_says_what_it_reads(plan_at):
    steps = plan_at(model="1", data="2", text="3")
    model, data, text = (
        {name: digit * 40} for name, digit in ((MODEL, "1"), (DATA, "2"), (TEXT, "3"))
    )
    assert commits(steps["model", "prepare the model"]) == model
    assert commits(steps["train", "train sib200, en"]) == model | data
    assert commits(steps["train", "train causal-lm, sw"]) == model | text
    assert commits(steps["results", "results"]) == {}


def test_where_no_commit_is_known_it_says_so_and_is_what_it_was(plan_at):
    steps = plan_at()
    train = steps["train", "train sib200, en"]
    assert commits(train) == {MODEL: None, DATA: None}
    assert train.config["model"] == MODEL
    assert train.config["data"]["source"]["options"] == {}


def test_files_and_what_comes_with_packages_have_no_commits(tmp_path):
    (tmp_path / "model.gguf").write_text("x")
    local = {**RECIPE, "tasks": ["emoji"], "targets": ["tr"]}
    local["reference"] = [{"task": "causal-lm", "text": "emoji"}]
    for model in ("model.gguf", "builtin:gemma-3-270m"):
        text = json.dumps({**local, "model": model})
        for step in in_order([planned(recipe_from(text, "recipe", tmp_path))]):
            assert commits(step) == {}


def test_a_revision_that_the_task_names_is_the_one_that_is_looked_up(monkeypatch):
    monkeypatch.setattr("adamergex.tasks.sources.commit", lambda *asked: "-".join(asked))
    found = hub_source("org/data", None, "test", {"revision": "v2"})
    assert found["options"] == {"revision": "org/data-dataset-v2"}


def test_a_folder_is_not_looked_up(monkeypatch, tmp_path):
    monkeypatch.setattr("adamergex.tasks.sources.commit", lambda *_: "1" * 40)
    assert hub_source(str(tmp_path), None, "test", {})["options"] == {}


@pytest.mark.parametrize(("cached", "refused"), [("1" * 40, False), ("2" * 40, True), ("x", False)])
def test_rows_of_another_commit_are_refused(monkeypatch, cached, refused):
    """Without a connection `datasets` takes what it has."""

    class Loaded(list):
        @property
        def cache_files(self):
            return [{"filename": f"/cache/org___data/default/0.0.0/{cached}/data-test.arrow"}]

    def load_dataset(path, name, *, split, revision):
        assert (path, name, split, revision) == ("org/data", None, "test", "1" * 40)
        return Loaded([{"text": "x"}])

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("adamergex.tasks.sources.commit", lambda *_: "1" * 40)
    source = hub_source("org/data", None, "test", {})
    if refused:
        with pytest.raises(InputError, match=f"org/data: commit in the cache: found {cached}"):
            rows(source, {})
    else:
        assert rows(source, {}) == [{"text": "x"}]
