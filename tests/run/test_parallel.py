"""One training by several processes: what it learns is what one process learns."""

import multiprocessing
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from adamergex.errors import AdamergexError, InputError, UnforeseenError
from adamergex.plan import planned
from adamergex.recipe import demo_recipe
from adamergex.run import Store
from adamergex.run.parallel import record_of
from adamergex.run.worker import performed
from adamergex.step import Step, in_order
from adamergex.train.checkpoints import EVERY
from tests.support.backbones import QUIET_TRAINING, STRUCTURES

pytestmark = QUIET_TRAINING

ROWS, BATCH = 11, 4
"""Batches of 4, 4 and 3 rows: three processes have no equal shares, two no equal last ones."""


def trainings(tiny_folder, *changes):
    """T, and the reference that goes on from it."""
    recipe = demo_recipe(
        [
            f"model={tiny_folder}",
            f"adapter={STRUCTURES['lora']}",
            "targets=tr",
            "methods=[adamergex]",
            f"max_samples={{train: {ROWS}, dev: 4, test: 4}}",
            "reference={task: distillation, text: emoji, max_samples: 9}",
            "training={learning_rate: 1.0e-2, num_train_epochs: 2, vocabulary: in-use}",
            f"training.per_device_train_batch_size={BATCH}",
            *changes,
        ]
    )
    return [step for step in in_order([planned(recipe)]) if step.kind in ("train", "distil")]


def learnt(steps, folder):
    """Each step's losses and adapter, trained in a store of its own."""
    store = Store(folder)
    for step in in_order(steps):
        performed(step, store.folder)
    return [
        (store.record(s)["losses"], load_file(store.path(s) / "adapter/adapter_model.safetensors"))
        for s in steps
    ]


def assert_same(found, wanted):
    for (losses, tensors), (own_losses, own_tensors) in zip(found, wanted, strict=True):
        assert losses == pytest.approx(own_losses, rel=1e-4)
        assert tensors.keys() == own_tensors.keys()
        for name, value in tensors.items():
            np.testing.assert_allclose(value, own_tensors[name], rtol=1e-3, atol=1e-4)


def assert_learnt_alike(tiny_folder, folder, processes, shard, changes, count):
    parallel = f"parallel={{processes: {processes}, shard: {shard}}}"
    shared = trainings(tiny_folder, *changes, parallel)[:count]
    alone = trainings(tiny_folder, *changes)[:count]
    assert len(shared) == count
    assert {(step.processes, step.shard) for step in shared} == {(processes, shard)}
    assert_same(learnt(shared, folder / "shared"), learnt(alone, folder / "alone"))


def test_what_is_learnt_is_the_same(tiny_folder, tmp_path):
    """T alone: each process takes seconds to start."""
    changes = ["training.gradient_accumulation_steps=2"]
    assert_learnt_alike(tiny_folder, tmp_path, 2, False, changes, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "shard", "changes", "count"),
    [
        (3, False, ["training.gradient_accumulation_steps=2"], 2),
        (2, False, [f"adapter={STRUCTURES['prefix']}"], 2),
        (3, True, ["training.gradient_accumulation_steps=2"], 2),
        (2, True, ["methods=[madx]"], 4),  # one adapter trained on another, which changes the base
    ],
    ids=str,
)
def test_what_is_learnt_is_the_same_in_each_case(
    tiny_folder, tmp_path, processes, shard, changes, count
):
    assert_learnt_alike(tiny_folder, tmp_path, processes, shard, changes, count)


def test_an_error_of_all_is_raised_as_it_is(tiny_folder, tmp_path):
    wrong = "adapter={type: lora, target_modules: [lm_head]}"
    with pytest.raises(InputError, match="the output layer"):
        learnt(trainings(tiny_folder, wrong, "parallel.processes=2"), tmp_path)


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_says_where_it_came_from(tmp_path):
    nothing = Step("train", {}, label="train nothing", processes=2)
    with pytest.raises(UnforeseenError, match=r"^train nothing: KeyError: 'model'$") as raised:
        record_of(nothing, {}, tmp_path)
    assert "in model_of" in raised.value.where


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training_which_then_goes_on(
    tiny_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(EVERY, "0")
    long = "training.num_train_epochs=20"
    first, _ = trainings(tiny_folder, long, "parallel.processes=2")

    def killing():
        while not list(tmp_path.glob("shared/.*/**/complete.json")):
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=killing, daemon=True)
    killer.start()
    with pytest.raises(AdamergexError, match="SIGKILL"):
        learnt([first], tmp_path / "shared")
    killer.join()
    assert list(tmp_path.glob("shared/.*/**/complete.json"))
    found = learnt([first], tmp_path / "shared")
    assert_same(found, learnt(trainings(tiny_folder, long)[:1], tmp_path / "alone"))


def test_more_processes_than_gpus(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    wanted = "parallel: processes: found 3; needed at most 2, the GPUs that are here"
    with pytest.raises(InputError, match=wanted):
        record_of(trainings(tiny_folder, "parallel.processes=3")[0], {}, tmp_path)
