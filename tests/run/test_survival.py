"""A run that is killed, anywhere and again and again, ends with what it would have ended with."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from adamergex.run import Store
from adamergex.run.store import CHECKPOINTS, RECORD_FILE
from adamergex.step import Step
from adamergex.train.checkpoints import EVERY
from tests.support.clusters import eventually
from tests.support.folders import snapshot

STEP = Step("merge", {"scale": 1.0}, label="merge t=1")
WRITES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.scandir")
KILLS = 30


def work(out):
    """A step that keeps a checkpoint, and writes its result in two files."""
    kept = out / CHECKPOINTS / "first"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        kept.with_suffix(".draft").write_text("first half")
        kept.with_suffix(".draft").rename(kept)
    (out / "adapter").mkdir()
    (out / "adapter" / "weights").write_text(kept.read_text() + ", second half")
    (out / "notes").write_text("done")
    return {"rank": 8}


def dies_at(number, task):
    """Runs `task` in a child that is killed at its nth touch of the file system; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def watching(event, _):
            nonlocal count
            if event in WRITES:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watching)
        task()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_step_killed_at_any_write_is_not_there_or_is_whole(tmp_path):
    undisturbed = Store(tmp_path / "undisturbed")
    undisturbed.fill(STEP, work)
    wanted = snapshot(undisturbed.path(STEP))
    number = 1
    while True:
        store = Store(tmp_path / f"steps-{number}")
        killed = dies_at(number, lambda store=store: store.fill(STEP, work))
        if store.finished(STEP):
            assert store.damage(STEP) is None
            assert snapshot(store.path(STEP)) == wanted
        store.fill(STEP, work)
        assert snapshot(store.path(STEP)) == wanted
        if not killed:
            break
        assert [path.name for path in store.folder.glob("*-*")] == [STEP.folder]
        number += 1
    assert number > 15


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_removal_killed_at_any_write_leaves_no_half_of_a_result(tmp_path):
    number, killed = 1, True
    while killed:
        store = Store(tmp_path / f"steps-{number}")
        store.fill(STEP, work)
        killed = dies_at(number, lambda store=store: store.discard(STEP))
        assert not store.finished(STEP) or store.damage(STEP) is None
        store.fill(STEP, work)
        assert store.damage(STEP) is None
        number += 1
    assert number > 4


@pytest.fixture
def small_run(tiny_folder, tmp_path):
    """A command that trains, merges, chooses and measures in miniature, and writes all the time."""

    def started(output):
        return subprocess.Popen(
            [
                sys.executable, "-m", "adamergex", "demo", "--output", output, "--workers", "2",
                "--targets", "tr",
                "--set", f"model={tiny_folder}",
                "--set", "methods=[source-ft, target-ft, lt-sft, arimerge, adamergex]",
                "--set", "reference=[{task: causal-lm, text: emoji, max_samples: 40}]",
                "--set", "scale={grid: [0, 0.5]}",
                "--set", "training={num_train_epochs: 2, per_device_train_batch_size: 2}",
                "--set", "max_samples={train: 40, dev: 8, test: 10}",
            ],
            env={**os.environ, EVERY: "0.2"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )  # fmt: skip

    return started


def results(output):
    """What a run is for, without what it cost: every adapter, and the numbers of the tables."""
    (found,) = output.glob("steps/results-*/results.json")
    return {
        **snapshot(output / "adapters"),
        "results": found.read_bytes(),
        **{
            f"{path.parent.parent.name}/{path.name}": path.read_bytes()
            for path in sorted(output.glob("steps/*/adapter/*.safetensors"))
        },
    }


@pytest.mark.slow
def test_a_run_killed_thirty_times_ends_the_same(small_run, tmp_path):
    start = time.monotonic()
    with small_run(tmp_path / "undisturbed") as run:
        assert run.wait(600) == 0, run.stderr.read()
    whole = time.monotonic() - start
    wanted = results(tmp_path / "undisturbed")
    draw, kills = random.Random(7), 0
    output = tmp_path / "killed"
    while kills < KILLS:
        with small_run(output) as run:
            try:
                # Long enough to get somewhere, and anywhere: the start, training, the report.
                run.wait(draw.uniform(0.1, 0.9) * whole)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                kills += 1
                continue
            # It ended by itself: what is finished goes, and killing goes on.
            assert run.returncode == 0, run.stderr.read()
            assert results(output) == wanted
            shutil.rmtree(output)
    with small_run(output) as run:
        assert run.wait(600) == 0, run.stderr.read()
    assert results(output) == wanted
    assert not list(output.glob("steps/.[!l]*"))  # but the locks
    for record in output.glob(f"steps/*/{RECORD_FILE}"):
        assert json.loads(record.read_text())["fingerprint"] in record.parent.name


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_it_can_go_on_from(small_run, tmp_path):
    output = tmp_path / "out"
    with small_run(output) as run:
        eventually(lambda: list(output.glob("steps/.train-*/**/complete.json")))
        others = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(30) == 130
        assert psutil.wait_procs(others, timeout=30)[1] == []
        assert run.stderr.read().endswith("adamergex: error: interrupted\n")
    assert list(output.glob("steps/.train-*/**/complete.json"))
    with small_run(output) as run:
        assert run.wait(600) == 0, run.stderr.read()
    assert not list(output.glob("steps/.[!l]*"))
