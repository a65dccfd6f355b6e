"""What is removed from a store, and what another process keeps from being removed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adamergex.errors import AdamergexError, InputError
from adamergex.run import Store
from adamergex.run.store import CHECKPOINTS
from adamergex.run.upkeep import finished, opened, removed
from adamergex.step import Step
from tests.run.test_store import STEP, everything, fill_with, killed_at_work
from tests.support.clusters import eventually
from tests.support.toys import gone, toy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / "steps")


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
