"""T taught to answer target prompts as it answers source prompts."""

import pytest
import torch
from torch.nn.functional import kl_div

from adamergex.errors import InputError
from adamergex.score import states_of
from adamergex.tasks import Example
from adamergex.train import distil, train_adapter
from adamergex.train.checkpoints import EVERY, CheckpointWriter
from tests.support.backbones import QUIET_TRAINING, STRUCTURES, assert_untouched, state
from tests.support.folders import snapshot

pytestmark = QUIET_TRAINING

SOURCE = ["red apple =", "train =", "a lion =", "soccer ball =", "chequered flag ="]
TARGET = ["kırmızı elma =", "tren =", "aslan =", "futbol topu =", "damalı bayrak ="]
LABELS = [" Food", " Travel", " Animals", " Activities", " Symbols"]
TRAINING = {"learning_rate": 1e-2, "max_steps": 20, "per_device_train_batch_size": 3}


@pytest.fixture(params=STRUCTURES)
def taught(request, tiny, tmp_path):
    """T of each structure, and the states before its answers to source prompts."""
    rows = [Example(*row) for row in zip(SOURCE, LABELS, strict=True)]
    adapter = STRUCTURES[request.param]
    train_adapter(tiny, rows, tmp_path / "T", adapter=adapter, training=TRAINING, seed=0)
    return tmp_path / "T", states(tiny, tmp_path / "T", SOURCE)


def states(tiny, adapter, prompts):
    with tiny.adapted(adapter) as model:
        return states_of(tiny, model, prompts)


def one_by_one(tiny, adapter, prompts):
    """The distribution of the token after each prompt, by transformers' own forward, unbatched."""
    found = []
    with tiny.adapted(adapter) as model, torch.no_grad():
        for prompt in prompts:
            ids = tiny.tokenizer("<bos>" + prompt, return_tensors="pt").input_ids
            found.append(model(input_ids=ids).logits[0, -1].log_softmax(-1))
    return torch.stack(found)


def test_states_give_the_distribution_that_the_model_gives(tiny, taught):
    adapter, found = taught
    logits = found @ tiny.model.get_output_embeddings().weight.T
    wanted = one_by_one(tiny, adapter, SOURCE)
    torch.testing.assert_close(logits.log_softmax(-1), wanted, rtol=1e-4, atol=1e-4)


def test_the_first_loss_is_the_divergence_and_it_falls(tiny, taught, tmp_path):
    start, wanted = taught
    before = state(tiny)
    options = {"training": {**TRAINING, "per_device_train_batch_size": 5}, "seed": 0}
    found = distil(tiny, TARGET, wanted, tmp_path / "Rt", start=start, **options)
    assert_untouched(tiny, before)
    ours, teacher = (one_by_one(tiny, start, texts) for texts in (TARGET, SOURCE))
    first = kl_div(ours, teacher, log_target=True, reduction="batchmean")
    assert found["losses"][0] == pytest.approx(float(first), rel=1e-3)
    after = one_by_one(tiny, tmp_path / "Rt", TARGET)
    last = kl_div(after, teacher, log_target=True, reduction="batchmean")
    assert float(last) < 0.95 * float(first)
    assert (found["rows"], found["steps"]) == (5, 20)


def test_accumulated_steps_are_the_same_as_large_ones(tiny, taught, tmp_path):
    """Batches of 5 and 1 are not the mean of two means."""
    start, wanted = taught
    losses = []
    for batch, steps in ((6, 1), (3, 2)):
        size = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
        training = {**TRAINING, **size, "max_steps": 3}
        made = distil(
            tiny, TARGET, wanted, tmp_path / str(batch), start=start, training=training, seed=1
        )
        losses.append(made["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_cut_vocabulary_is_a_distribution_among_its_tokens(tiny, taught, tmp_path):
    start, wanted = taught
    ids = sorted({tiny.tokenizer(label).input_ids[0] for label in LABELS})
    training = {**TRAINING, "per_device_train_batch_size": 5, "max_steps": 1}
    options = {"start": start, "training": training, "seed": 0, "vocabulary": ids}
    found = distil(tiny, TARGET, wanted, tmp_path / "Rt", **options)
    ours, teacher = (
        one_by_one(tiny, start, texts)[:, ids].log_softmax(-1) for texts in (TARGET, SOURCE)
    )
    first = kl_div(ours, teacher, log_target=True, reduction="batchmean")
    assert found["losses"][0] == pytest.approx(float(first), rel=1e-3)


def test_what_was_killed_goes_on(tiny, taught, tmp_path, monkeypatch):
    start, wanted = taught
    options = {"start": start, "training": {**TRAINING, "max_steps": 5}, "seed": 3}
    distil(tiny, TARGET, wanted, tmp_path / "wanted", **options)
    monkeypatch.setenv(EVERY, "0")
    whole = CheckpointWriter.on_save

    def killed(self, args, state, control, **more):
        whole(self, args, state, control, **more)
        if state.global_step == 2:
            raise KeyboardInterrupt

    options["checkpoints"] = tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "on_save", killed)
        with pytest.raises(KeyboardInterrupt):
            distil(tiny, TARGET, wanted, tmp_path / "found", **options)
    distil(tiny, TARGET, wanted, tmp_path / "found", **options)
    assert snapshot(tmp_path / "found") == snapshot(tmp_path / "wanted")


def test_what_does_not_fit_is_named(tiny, taught, tmp_path):
    start, wanted = taught
    options = {"start": start, "training": TRAINING, "seed": 0}
    with pytest.raises(InputError, match="states: found 5; needed 4"):
        distil(tiny, TARGET[:4], wanted, tmp_path / "Rt", **options)
    with pytest.raises(InputError, match="rows: found 0; needed at least one"):
        distil(tiny, [], wanted[:0], tmp_path / "Rt", **options)
