"""A step is finished or it is not there."""

import hashlib
import json
import threading

import pytest

from adamergex.run import Store
from adamergex.run.store import CHECKPOINTS, RECORD_FILE
from adamergex.run.upkeep import damaged
from adamergex.step import Step

STEP = Step("merge", {"scale": 1.0}, label="merge t=1")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / "steps")


def everything(store):
    """All but the locks."""
    found = (path.relative_to(store.folder) for path in store.folder.rglob("*"))
    return sorted(path for path in found if path.parts[0] != ".locks")


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
        "files": {"adapter/x": hashlib.sha256(b"x").hexdigest()},
        "rank": 8,
    }
    assert {path.parts[0] for path in everything(store)} == {STEP.folder}
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


def killed_at_work(store, name="half"):
    """What a process leaves that dies in the middle of a step."""
    stage = store.folder / f".{STEP.folder}"
    (stage / CHECKPOINTS).mkdir(parents=True)
    (stage / CHECKPOINTS / "checkpoint-3").write_text("3")
    (stage / name).write_text("x")
    (stage / "adapter").mkdir()
    return stage


def test_of_a_killed_attempt_the_next_sees_the_checkpoints_and_nothing_else(store):
    killed_at_work(store)

    def work(out):
        assert [path.name for path in out.iterdir()] == [CHECKPOINTS]
        assert (out / CHECKPOINTS / "checkpoint-3").read_text() == "3"
        return {}

    store.fill(STEP, work)
    assert everything(store) == [
        (store.path(STEP) / x).relative_to(store.folder) for x in ("", RECORD_FILE)
    ]


def test_checkpoints_outlive_an_error(store):
    def work(out):
        (out / CHECKPOINTS).mkdir()
        (out / CHECKPOINTS / "one").write_text("1")
        (out / "half").write_text("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.fill(STEP, work)
    assert [str(path) for path in everything(store)][1:] == [
        f".{STEP.folder}/{CHECKPOINTS}", f".{STEP.folder}/{CHECKPOINTS}/one"
    ]  # fmt: skip


def test_two_at_one_step_do_it_once(store):
    """The second waits, and then has nothing to do."""
    entered, leave, calls = threading.Event(), threading.Event(), []

    def slow(out):
        calls.append("slow")
        entered.set()
        assert leave.wait(20)
        return {"by": "the first"}

    first = threading.Thread(target=store.fill, args=(STEP, slow))
    first.start()
    assert entered.wait(20)
    other = threading.Thread(
        target=Store(store.folder).fill, args=(STEP, lambda out: calls.append("again") or {})
    )
    other.start()
    other.join(0.2)
    assert other.is_alive()
    Store(store.folder).fill(Step("merge", {"scale": 0.5}), lambda out: {})  # another step is free
    leave.set()
    first.join(20)
    other.join(20)
    assert calls == ["slow"]
    assert store.record(STEP)["by"] == "the first"


def fill_with(store, text="x"):
    def work(out):
        (out / "adapter").mkdir()
        (out / "adapter" / "weights").write_text(text)
        return {"seconds": 1.5}

    store.fill(STEP, work)
    return store.path(STEP) / "adapter" / "weights"


def test_damage_is_found(store):
    weights = fill_with(store)
    assert store.damage(STEP) is None
    weights.write_text("y")
    assert store.damage(STEP) == "adapter/weights has changed"
    assert damaged(store) == [(store.path(STEP), "adapter/weights has changed")]
    weights.unlink()
    assert store.damage(STEP) == "adapter/weights is missing"
    weights.write_text("x")
    assert store.damage(STEP) is None
    (store.path(STEP) / "more").write_text("")
    assert store.damage(STEP) == "more was not there"
    (store.path(STEP) / RECORD_FILE).write_text("{")
    assert store.damage(STEP) == "record.json cannot be read"


def test_what_is_discarded_can_be_done_again(store):
    weights = fill_with(store)
    store.discard(STEP)
    assert not store.finished(STEP)
    assert everything(store) == []
    assert fill_with(store, "z") == weights


def test_a_record_is_plain_json(store):
    store.fill(STEP, lambda out: {"label of": "سیب"})
    text = (store.path(STEP) / RECORD_FILE).read_text(encoding="utf-8")
    assert json.loads(text)["label of"] == "سیب"
