"""A step is finished or it is not there."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adamergex.errors import AdamergexError, InputError
from adamergex.run import Store
from adamergex.run.store import CHECKPOINTS, RECORD_FILE
from adamergex.run.upkeep import damaged, finished, opened, removed
from adamergex.step import Step
from tests.support.clusters import eventually
from tests.support.toys import gone, toy

ROOT = Path(__file__).parents[2]
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


def test_removing_leaves_what_is_whole_and_wanted(store):
    fill_with(store)
    others = [Step("merge", {"scale": x}) for x in (0.25, 0.5)]
    for step in others:
        store.fill(step, lambda out: {})
    (store.folder / "notes.txt").write_text("mine")
    stage = killed_at_work(store)
    (store.folder / f"train-{'0' * 64}").mkdir()
    leftovers = {stage.name, f"train-{'0' * 64}"}
    assert {path.name for path, _ in removed(store, None, dry_run=True)} == leftovers
    assert stage.exists()
    assert {path.name for path, _ in removed(store, None, dry_run=False)} == leftovers
    assert sorted(entry.folder for entry in finished(store)) == store.entries()
    assert len(store.entries()) == 3
    gone = {step.folder for step in others}
    assert {path.name for path, _ in removed(store, {STEP.folder}, dry_run=False)} == gone
    assert store.entries() == [store.path(STEP)]
    (store.path(STEP) / "adapter" / "weights").write_text("y")
    assert [path for path, _ in removed(store, None, dry_run=False)] == [store.path(STEP)]
    assert [path.name for path in store.folder.iterdir() if path.name != ".locks"] == ["notes.txt"]


def test_what_a_run_is_at_is_not_removed(store):
    def work(out):
        (out / CHECKPOINTS).mkdir()
        assert list(removed(Store(store.folder), None, dry_run=False)) == []
        assert (out / CHECKPOINTS).is_dir()
        return {}

    store.fill(STEP, work)
    assert store.finished(STEP)


RUN = """
import sys
from pathlib import Path
from adamergex.run import Store, execute, local
from tests.support import toys

local.performed = toys.performed
trail = Path(sys.argv[1])
done = toys.toy(trail, "done")
execute(toys.toy(trail, "held", "hold", inputs={"done": done}), Store(trail / "steps"), workers=1)
"""


def test_what_another_process_runs_on_is_not_cleared(tmp_path):
    store, done = Store(tmp_path / "steps"), toy(tmp_path, "done")
    with subprocess.Popen([sys.executable, "-c", RUN, tmp_path], cwd=ROOT) as run:
        try:
            eventually((tmp_path / "grandchild").exists)
            assert store.folder / done.folder in [p for p, _ in removed(store, (), dry_run=True)]
            with pytest.raises(AdamergexError, match="steps: a run is using it"):
                list(removed(store, (), dry_run=False))
            assert store.finished(done)
        finally:
            run.terminate()
            os.kill(int((tmp_path / "grandchild").read_text()), signal.SIGKILL)
    eventually(lambda: gone(tmp_path, "held"))
    cleared = [path.name for path, _ in removed(store, (), dry_run=False)]
    assert done.folder in cleared
    assert everything(store) == []


def test_a_run_that_begins_while_the_store_is_cleared_waits(store):
    entered = threading.Event()

    def use():
        with Store(store.folder).in_use():
            entered.set()

    with store.quiet():
        run = threading.Thread(target=use)
        run.start()
        assert not entered.wait(0.2)
    assert entered.wait(20)
    run.join(20)


def test_the_store_of_a_run_is_found(store):
    fill_with(store)
    assert opened(store.folder).folder == store.folder
    assert opened(store.folder.parent).folder == store.folder
    with pytest.raises(InputError, match="found no finished steps; needed the folder of a run"):
        opened(store.folder / STEP.folder)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB. Only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("writer", ["python", "safetensors", "torch"])
def test_a_full_disk_is_named_and_what_is_finished_is_kept(small_disk, writer):
    import torch
    from safetensors.torch import save_file

    store = Store(small_disk / "steps")
    fill_with(store)
    big = {"a": torch.zeros(2**20)}

    def work(out):
        if writer == "python":
            (out / "big").write_bytes(b"x" * 2**22)
        elif writer == "safetensors":
            save_file(big, out / "big")
        else:
            torch.save(big, out / "big")
        return {}

    other = Step("merge", {"scale": 0.5})
    # One library takes away what it has written: then it is not known which disk is the full one.
    where = "merge" if writer == "safetensors" else "steps"
    with pytest.raises(
        AdamergexError, match=f"{where}: the disk is full; what is finished is kept"
    ):
        store.fill(other, work)
    assert not store.finished(other)
    assert store.damage(STEP) is None
    store.fill(other, lambda out: {})  # what the attempt wrote is gone


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_what_a_step_may_not_read_is_not_laid_at_the_stores_door(store, number):
    own = OSError(number, os.strerror(number), "/data/secret.csv")

    def work(out):
        raise own

    with pytest.raises(OSError, match=r"secret\.csv") as raised:
        store.fill(STEP, work)
    assert raised.value is own


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_a_step_may_not_write_in_the_store_is(store, number):
    def work(out):
        raise OSError(number, os.strerror(number), str(out / "adapter"))

    with pytest.raises(InputError, match=r"steps: found .*; needed a folder that can be written"):
        store.fill(STEP, work)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_another_disk_that_is_full_is_named(store, number):
    def work(out):
        raise OSError(number, os.strerror(number), "/cache/hub/model.safetensors")

    with pytest.raises(AdamergexError, match=r"^/cache/hub/model\.safetensors: the disk is full; "):
        store.fill(STEP, work)


def test_a_store_that_may_not_be_written_to_is_read(small_disk):
    store = Store(small_disk / "steps")
    fill_with(store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    store = Store(small_disk / "steps")
    with store.in_use():
        assert store.finished(STEP)
        assert store.damage(STEP) is None
    with pytest.raises(InputError, match=r"steps: found .*; needed a folder that can be written"):
        store.fill(Step("merge", {"scale": 0.5}), lambda out: {})
    with pytest.raises(InputError, match="needed a folder that can be written"):
        Store(small_disk / "other")


def test_a_record_is_plain_json(store):
    store.fill(STEP, lambda out: {"label of": "سیب"})
    text = (store.path(STEP) / RECORD_FILE).read_text(encoding="utf-8")
    assert json.loads(text)["label of"] == "سیب"
