"""What records say of where results come from, and what results say where that differs."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from adamergex.plan import planned
from adamergex.recipe import demo_recipe
from adamergex.report import read_results
from adamergex.report.text import versions
from adamergex.run import Store, publish
from adamergex.run.functions import FUNCTIONS
from adamergex.run.provenance import common, differences
from adamergex.run.worker import performed
from adamergex.step import Step, in_order

ONE = Step("train", {"n": 1}, label="train one")
OTHER = Step("train", {"n": 2}, label="train other")


def made(cpu="A", cores=2, python="3.11.7", **packages):
    machine = {"python": python, "cpu": cpu, "cores": cores}
    return {"environment": {**machine, "packages": {"adamergex": "1", **packages}}}


def test_a_record_says_what_made_it_and_what_it_read(tmp_path, monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "probe", lambda config, inputs, out: {"n": 1})
    commit = "1" * 40
    rows = {"source": {"hub": "org/data", "options": {"revision": commit}}}
    step = Step("probe", {"model": "org/model", "data": rows}, label="probe")
    performed(step, tmp_path / "steps")
    record = Store(tmp_path / "steps").record(step)
    assert record["commits"] == {"org/data": commit, "org/model": None}
    packages = record["environment"]["packages"]
    for name in ("adamergex", "torch", "transformers", "peft", "numpy"):
        assert packages[name] == version(name)
    assert record["environment"]["cores"] > 0
    assert record["environment"]["memory_gib"] > 0


def test_what_steps_have_in_common_and_every_value_of_what_they_have_not():
    records = {ONE: made("A", 2, torch="2.12"), OTHER: made("B", 4, torch="2.13")}
    assert common(records) == {
        "python": "3.11.7", "cpu": "A, B", "cores": None,
        "packages": {"adamergex": "1", "torch": "2.12, 2.13"},
    }  # fmt: skip
    assert common({ONE: made(), OTHER: {}}) == made()["environment"]
    assert common({ONE: {}}) == {"packages": {}}


def test_packages_that_differ_and_where():
    records = {ONE: made(torch="2.12"), OTHER: made(torch="2.13")}
    assert differences(records) == {"torch": {"2.12": [ONE], "2.13": [OTHER]}}
    assert differences({ONE: made(), OTHER: made("B", 8)}) == {}
    assert differences({ONE: {}}) == {}
    records = {ONE: made(python="3.10.1"), OTHER: {}}
    assert differences(records) == {
        "python": {"3.10.1": [ONE], "unknown": [OTHER]},
        "adamergex": {"1": [ONE], "unknown": [OTHER]},
    }


@pytest.fixture
def finished(tmp_path):
    """Publishes a run whose steps were made by torch 2.12, and those of some label by another."""
    recipe = demo_recipe(["targets=[fa, tr]", "methods=[zero-shot, source-ft, target-ft]"])
    last = planned(recipe)
    rows = [
        {**row, "headline": False, "score": 0.5, "standard_error": 0.1, "n": 4, "metrics": {},
         "versus_source_ft": None, "gap_closed": None, "seed_sd": None,
         "runs": [{"seed": 0, "score": 0.5, "key": row["key"], "setting": None, "scale": None,
                   "dev": None}]}
        for row in last.config["tasks"][0]["rows"]
    ]  # fmt: skip
    task = {
        "task": "emoji", "metric": "acc", "higher_is_better": True, "n_test": {}, "chance": None,
        "majority": None, "source_score": None, "rows": rows, "means": [], "geometry": {},
    }  # fmt: skip
    assembled = {
        "schema": 2, "source": "en", "targets": ["fa", "tr"], "seeds": [0], "references": [],
        "tasks": [task],
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(assembled))

    def publish_with(other):
        records = {
            step: {**made(torch="2.13" if step.label == other else "2.12"), "seconds": 1.0}
            for step in in_order([last])
        }
        store = SimpleNamespace(record=records.__getitem__, path=lambda _: tmp_path)
        publish(recipe, last, store, tmp_path / "out")
        return read_results(tmp_path / "out")

    (tmp_path / "out").mkdir()
    return publish_with


def test_results_say_which_rows_were_made_by_which_version(finished):
    found = finished("train emoji, tr, train labels, from T")
    assert found.environment.packages["torch"] == "2.12, 2.13"
    old, new = sorted(found.versions, key=lambda each: each.version)
    assert (old.package, new.package, new.version) == ("torch", "torch", "2.13")
    assert new.steps == ["train emoji, tr, train labels, from T"]
    assert new.rows == ["emoji, tr: target-ft oracle"]
    # The rest of that row, and all other rows, are behind the other.
    assert set(old.rows) == {
        f"emoji, {target}: {method}"
        for target in ("fa", "tr")
        for method in ("zero-shot", "source-ft", "target-ft oracle")
    }
    (sentence,) = versions(found)
    assert sentence.startswith("Made with several versions of torch: 2.1")
    assert "2.13 (1 step, behind 1 of the rows)" in sentence


def test_results_of_one_version_say_nothing(finished):
    found = finished("no such step")
    assert found.versions == []
    assert versions(found) == []
    assert found.environment.packages == {"adamergex": "1", "torch": "2.12"}
