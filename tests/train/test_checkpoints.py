"""A training that was killed goes on, and gives what it would have given."""

import pytest

from adamergex.train import train_adapter, train_sparse
from adamergex.train.checkpoints import EVERY, CheckpointWriter, last_checkpoint
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES
from tests.support.folders import snapshot

pytestmark = QUIET_TRAINING

TRAINING = {
    "learning_rate": 1e-2,
    "max_steps": 7,  # two rounds of 3 steps, and one more
    "per_device_train_batch_size": 3,
    "lr_scheduler_type": "cosine",
}
LORA = {**STRUCTURES["lora"], "lora_dropout": 0.2}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def killed_after(monkeypatch):
    """Checkpoints after every step; the process ends with the nth, before or after it is whole."""
    monkeypatch.setenv(EVERY, "0")
    whole = CheckpointWriter.on_save

    def ending(number, *, before):
        saves = 0

        def on_save(self, args, state, control, **more):
            nonlocal saves
            saves += 1
            if saves == number and before:
                raise Killed
            whole(self, args, state, control, **more)
            if saves == number:
                raise Killed

        monkeypatch.setattr(CheckpointWriter, "on_save", on_save)

    yield ending


def comparable(record):
    return {key: value for key, value in record.items() if key != "training_seconds"}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("number", "before"), [(1, True), (1, False), (2, True), (4, False)])
def test_an_adapter_is_the_same_to_the_byte(
    tiny, tmp_path, killed_after, structure, number, before
):
    adapter = LORA if structure == "lora" else STRUCTURES[structure]
    options = {"adapter": adapter, "training": TRAINING, "seed": 3}
    wanted = train_adapter(tiny, ROWS, tmp_path / "wanted", **options)
    kept = tmp_path / "checkpoints"
    killed_after(number, before=before)
    with pytest.raises(Killed):
        train_adapter(tiny, ROWS, tmp_path / "found", **options, checkpoints=kept)
    assert not (tmp_path / "found").exists()
    last = last_checkpoint(kept)
    steps = number - 1 if before else number
    assert (last is None) == (steps == 0)
    if last is not None:
        assert last[0].name == f"checkpoint-{steps}"
        assert last[1] == wanted["losses"][:steps]
    killed_after(None, before=False)
    found = train_adapter(tiny, ROWS, tmp_path / "found", **options, checkpoints=kept)
    assert comparable(found) == comparable(wanted)
    assert snapshot(tmp_path / "found") == snapshot(tmp_path / "wanted")
    assert len(list(kept.glob("checkpoint-*"))) == 1


@pytest.mark.parametrize("number", [2, 6, 7, 9])  # saves of the first training, and of the second
def test_a_sparse_fine_tuning_is_the_same_to_the_byte(tiny, tmp_path, killed_after, number):
    options = {"density": 0.1, "training": TRAINING, "seed": 3}
    wanted = train_sparse(tiny, ROWS, tmp_path / "wanted", **options)
    kept = tmp_path / "checkpoints"
    killed_after(number, before=False)
    with pytest.raises(Killed):
        train_sparse(tiny, ROWS, tmp_path / "found", **options, checkpoints=kept)
    assert (kept / "masks.safetensors").exists() == (number > 6)
    killed_after(None, before=False)
    found = train_sparse(tiny, ROWS, tmp_path / "found", **options, checkpoints=kept)
    assert comparable(found) == comparable(wanted)
    assert snapshot(tmp_path / "found") == snapshot(tmp_path / "wanted")


def test_without_a_folder_nothing_is_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv(EVERY, "0")
    train_adapter(tiny, ROWS, tmp_path / "a", adapter=LORA, training=TRAINING, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
