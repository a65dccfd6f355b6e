"""A plan executed in several processes: what is done, what is used again, what an error leaves."""

import os
import signal
import subprocess
import sys
from multiprocessing import active_children
from threading import Thread

import numpy as np
import pytest

from adamergex.errors import AdamergexError, InputError, UnforeseenError
from adamergex.run import Store, execute
from adamergex.run.worker import performed
from adamergex.step import Step, in_order
from tests.support.clusters import eventually
from tests.support.folders import dense_updates, write_lora
from tests.support.toys import gone, toy
from tests.support.toys import performed as performed_toys

ADAPTERS = {
    name: Step("train", {"made by": "this test", "name": name}, label=f"train {name}")
    for name in ("task", "reference_target", "reference_source", "oracle")
}
DEV = {"0": 0.5, "0.5": 0.625}


def inputs(*names):
    return {name: ADAPTERS[name] for name in names}


THREE = inputs("task", "reference_target", "reference_source")
MERGED = Step("merge", {"scale": 0.5, "space": "weight"}, THREE, label="merge t=0.5")
SCORES = {t: Step("score", {"dev at t": t}, label=f"dev {t}") for t in DEV}
BY = {"by": "score", "languages": ["fa"]}
CHOICE = Step(
    "select",
    {"scales": [0.0, 0.5], "labels": ["t=0", "t=0.5"], **BY},
    {
        "adapter.0": ADAPTERS["task"],
        "adapter.1": MERGED,
        "dev.fa.0": SCORES["0"],
        "dev.fa.1": SCORES["0.5"],
    },
    label="choose",
)
GEOMETRY = Step("geometry", {}, ADAPTERS, label="geometry")
SUM = {"rule": "add", "weights": {"task": 1.0, "reference_target": 0.5}, "scale": 0.5}
# Takes the choice, and the results of three other kinds, so that several can run at once.
LAST = Step(
    "select",
    {"scales": [0.0, 0.5, 0.5], "labels": ["choice", "sum", "arimerge"], **BY},
    {
        "adapter.0": CHOICE,
        "adapter.1": Step("weighted", SUM, inputs("task", "reference_target")),
        "adapter.2": Step("arimerge", {"c0": 0.5}, THREE),
        "dev.fa.0": SCORES["0"],
        "dev.fa.1": SCORES["0.5"],
        "dev.fa.2": SCORES["0"],
        "geometry": GEOMETRY,
    },
    label="last",
)
FAILING = Step("merge", {"scale": 0.5, "space": "sideways"}, THREE, label="merge sideways")
UNFORESEEN = Step("weighted", {"scale": 0.5}, THREE, label="merge nowhere")


@pytest.fixture
def store(tmp_path):
    """A store in which the adapters and scores are finished already."""
    store = Store(tmp_path / "steps")

    def train(out, seed):
        write_lora(out / "adapter", seed)
        return {"init_sha256": "ab" * 32}

    for seed, step in enumerate(ADAPTERS.values()):
        store.fill(step, lambda out, seed=seed: train(out, seed))
    for t, step in SCORES.items():
        record = {"score": DEV[t], "values": [DEV[t], DEV[t]]}
        store.fill(step, lambda out, record=record: record)
    return store


def ran(last, store):
    events = []

    def on_event(event):
        events.append(event)
        if event.what == "started":
            assert all(store.finished(needed) for needed in event.step.inputs.values())
        else:
            assert store.finished(event.step)

    folder = execute(last, store, workers=2, on_event=on_event)
    assert folder == store.path(last)
    return [(event.what, event.step) for event in events]


def test_a_plan_is_executed_and_the_second_time_used_again(store):
    given = {*ADAPTERS.values(), *SCORES.values()}
    events = ran(LAST, store)
    ordered = in_order([LAST])
    assert {step for what, step in events if what == "reused"} == given
    done = [step for what, step in events if what == "finished"]
    assert len(done) == len(set(done)) == len(ordered) - len(given)
    for step in done:
        assert events.index(("started", step)) < events.index(("finished", step))
    # The steps did what their names say: the choice of dev is the merge.
    assert store.record(CHOICE)["chosen"] == 1
    updates = {name: dense_updates(store.path(s) / "adapter") for name, s in ADAPTERS.items()}
    for module, found in dense_updates(store.path(CHOICE) / "adapter").items():
        t, rt, rs, _ = (updates[name][module] for name in ADAPTERS)
        np.testing.assert_allclose(found, t + 0.5 * (rt - rs), atol=1e-5)
    assert "alignment" in store.record(GEOMETRY)
    assert store.record(LAST)["chosen"] == 1

    assert ran(LAST, store) == [("reused", step) for step in ordered]


def test_an_error_of_a_step_is_raised_here(store):
    last = Step("select", {}, {"a": FAILING})
    with pytest.raises(InputError, match="space: found sideways"):
        execute(last, store, workers=2)
    assert not store.finished(FAILING)
    assert not store.finished(last)
    assert [path.name for path in store.folder.glob(".*")] == [".locks"]


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Has steps of the kind `toy` done; where they leave their trail."""
    monkeypatch.setattr("adamergex.run.local.performed", performed_toys)
    (tmp_path / "trail").mkdir()
    return tmp_path / "trail"


def test_the_first_error_ends_what_runs_and_what_is_finished_is_kept(toys, tmp_path):
    store = Store(tmp_path / "steps")
    done = toy(toys, "done")
    held = toy(toys, "held", "hold", inputs={"done": done})
    refusing = toy(toys, "refusing", "refuse", after="grandchild", inputs={"done": done})
    waiting = toy(toys, "waiting", inputs={"refusing": refusing})
    last = Step("toy", {}, {"a": held, "b": waiting})
    with pytest.raises(InputError, match="toy: found refusing; needed another"):
        execute(last, store, workers=2)
    assert store.finished(done)
    assert not any(store.finished(step) for step in (held, refusing, waiting, last))
    assert not (toys / "waiting").exists()
    eventually(lambda: gone(toys, "held"))
    eventually(lambda: gone(toys, "grandchild"))
    execute(done, store, workers=1)  # the store is free again


def test_an_error_that_nobody_foresaw_names_its_step_and_says_where_it_came_from(store):
    with pytest.raises(UnforeseenError, match=r"^merge nowhere: TypeError: .*$") as raised:
        execute(UNFORESEEN, store, workers=1)
    assert "in weighted" in raised.value.where
    assert not store.finished(UNFORESEEN)


def test_an_error_that_no_other_process_can_make_anew_is_told_all_the_same(toys, tmp_path):
    with pytest.raises(UnforeseenError, match=r"^odd: OddError: response 418$") as raised:
        execute(toy(toys, "odd", "fail"), Store(tmp_path / "steps"), workers=1)
    assert "in _toy" in raised.value.where


def test_each_worker_has_a_gpu_of_its_own(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("adamergex.run.sizing.gpus", lambda: ["0", "GPU-5e"])
    store, said = Store(tmp_path / "steps"), []
    one, other = toy(toys, "one", after="other"), toy(toys, "other", after="one")
    execute(Step("toy", toy(toys, "last").config, {"a": one, "b": other}), store, say=said.append)
    assert {store.record(step)["devices"] for step in (one, other)} == {"0", "GPU-5e"}
    assert said == ["2 workers at once: a GPU for each, of 2"]


def test_an_interrupt_ends_the_workers_at_once(store):
    """What they are at is not waited for: it would have been finished otherwise."""
    before = set(active_children())

    def interrupt(event):
        if event.what == "started":
            assert set(active_children()) - before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(MERGED, store, workers=2, on_event=interrupt)
    assert set(active_children()) <= before
    assert not store.finished(MERGED)
    ran(MERGED, store)  # the store is free again, and what was left in it does no harm
    assert store.finished(MERGED)


def test_two_runs_on_one_store_both_end_and_no_step_is_done_twice(store):
    """Each is asked for the same at the same moment; see also test_two_at_one_step_do_it_once."""
    seen, errors = [], []

    def run(which):
        try:
            execute(
                LAST, Store(store.folder), workers=1, on_event=lambda e: seen.append((which, e))
            )
        except Exception as error:  # a thread's own would be lost
            errors.append(error)

    runs = [Thread(target=run, args=(which,)) for which in "ab"]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join(120)
    assert errors == []
    assert all(store.damage(step) is None for step in in_order([LAST]))
    assert {which for which, event in seen if event.step == LAST} == {"a", "b"}
    assert not list(store.folder.glob(".[!l]*"))


def test_a_worker_that_dies_is_an_error_that_names_what_it_did(store):
    def kill(event):
        if event.what == "started":
            for child in active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(AdamergexError, match=r"a worker process died at: merge t=0\.5"):
        execute(MERGED, store, workers=1, on_event=kill)
    assert not store.finished(MERGED)
    # What it left half-done does not hinder the next run.
    ran(MERGED, store)
    assert store.finished(MERGED)


def test_everything_that_ran_is_named(store):
    started = []

    def kill(event):
        started.append(event.what)
        if started.count("started") == 2:
            for child in active_children():
                os.kill(child.pid, signal.SIGKILL)

    other = Step("merge", {"scale": 0.25, "space": "factor"}, THREE, label="merge in factor space")
    last = Step("select", {}, {"a": other, "b": MERGED})
    with pytest.raises(AdamergexError) as raised:
        execute(last, store, workers=2, on_event=kill)
    assert "merge in factor space" in str(raised.value)
    assert "merge t=0.5" in str(raised.value)


def test_a_damaged_step_is_found_before_use_and_made_anew(store):
    execute(MERGED, store, workers=1)
    weights = store.path(MERGED) / "adapter" / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # one bit of the last number
    seen = []
    execute(CHOICE, store, workers=1, on_event=seen.append)
    damaged = [event for event in seen if event.what == "damaged"]
    found = "adapter/adapter_model.safetensors has changed"
    assert [(event.step, event.detail) for event in damaged] == [(MERGED, found)]
    assert weights.read_bytes() == good
    assert "finished" in [event.what for event in seen if event.step == MERGED]


def test_a_step_refuses_an_input_that_changed_in_mid_run(store):
    weights = store.path(ADAPTERS["task"]) / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(AdamergexError, match="has changed since it was made; run again"):
        performed(MERGED, store.folder)
    assert not store.finished(MERGED)


ORPHANS = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from adamergex.run.worker import start_worker

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, start_worker, (1,)) as pool:
        worker = pool.submit(os.getpid).result()
        pool.submit(time.sleep, 60)
        print(worker, flush=True)
        time.sleep(60)
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """A killed run must not leave a process that holds gigabytes."""
    program = tmp_path / "program.py"
    program.write_text(ORPHANS)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
        run.kill()
        try:
            # The worker holds the other end of the pipe: it closes when the worker has gone.
            assert run.communicate(timeout=20) == ("", None)
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise
