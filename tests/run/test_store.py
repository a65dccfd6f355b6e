"""A step is finished or it is not there."""

import json

import pytest

from adamergex.errors import InputError
from adamergex.run import Store
from adamergex.run.store import RECORD_FILE
from adamergex.step import Step

STEP = Step("merge", {"scale": 1.0}, label="merge t=1")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / "steps")


def everything(store):
    return sorted(path.relative_to(store.folder) for path in store.folder.rglob("*"))


def test_what_was_filled_is_finished(store):
    def work(out):
        (out / "adapter").mkdir()
        (out / "adapter" / "x").write_text("x")
        return {"rank": 8}

    assert not store.finished(STEP)
    store.fill(STEP, work)
    assert store.finished(STEP)
    assert (store.path(STEP) / "adapter" / "x").read_text() == "x"
    assert store.record(STEP) == {
        "kind": "merge",
        "label": "merge t=1",
        "fingerprint": STEP.fingerprint,
        "rank": 8,
    }
    assert [path.name for path in store.folder.iterdir()] == [STEP.folder]
    assert Store(store.folder).finished(STEP)
    assert not store.finished(Step("merge", {"scale": 0.5}))


def test_the_record_comes_last_and_nothing_stands_under_the_name_before(store):
    def work(out):
        assert not store.path(STEP).exists()
        assert list(out.iterdir()) == []
        assert out.parent == store.folder  # so that renaming cannot cross file systems
        return {}

    store.fill(STEP, work)


def test_others_may_read_a_finished_step(store):
    store.fill(STEP, lambda out: {})
    assert store.path(STEP).stat().st_mode & 0o055 == 0o055


def test_an_exception_leaves_nothing(store):
    def work(out):
        (out / "half").write_text("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.fill(STEP, work)
    assert everything(store) == []
    assert not store.finished(STEP)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"], ids=repr)
def test_a_record_that_is_not_json_leaves_nothing(store, value):
    with pytest.raises((TypeError, ValueError)):
        store.fill(STEP, lambda out: {"accuracy": value})
    assert everything(store) == []


def test_a_folder_without_its_record_is_not_finished_and_is_redone(store):
    store.path(STEP).mkdir()
    (store.path(STEP) / "half").write_text("x")
    assert not store.finished(STEP)
    store.fill(STEP, lambda out: {"rank": 8})
    assert store.record(STEP)["rank"] == 8
    assert [path.name for path in store.path(STEP).iterdir()] == [RECORD_FILE]


def test_sweeping_removes_what_killed_runs_left_and_nothing_else(store):
    store.fill(STEP, lambda out: {})
    (store.folder / "notes.txt").write_text("mine")
    left = store.folder / f".{STEP.folder}.abc123"
    left.mkdir()
    (left / "half").write_text("x")
    store.sweep()
    assert {path.name for path in store.folder.iterdir()} == {STEP.folder, "notes.txt"}
    assert store.finished(STEP)


def test_one_run_holds_the_store(store):
    other = Store(store.folder)
    with store.locked():
        with pytest.raises(InputError, match="found another run at work") as raised, other.locked():
            pass
        assert str(store.folder) in str(raised.value)
        store.sweep()  # must not take the lock away
        with pytest.raises(InputError), other.locked():
            pass
    with other.locked():
        pass


def test_an_error_frees_the_store(store):
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with Store(store.folder).locked():
        pass


def test_a_record_is_plain_json(store):
    store.fill(STEP, lambda out: {"label of": "سیب"})
    text = (store.path(STEP) / RECORD_FILE).read_text(encoding="utf-8")
    assert json.loads(text)["label of"] == "سیب"
