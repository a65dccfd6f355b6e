"""One adapter trained: the same from the same seed, and the base model as it was."""

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from adamergex.errors import InputError
from adamergex.train import (
    adapter_config,
    fitting,
    initialised,
    train_adapter,
    vocabulary_of,
)
from tests.support.backbones import (
    QUIET_TRAINING,
    ROWS,
    STRUCTURES,
    assert_untouched,
    ids_of,
    state,
)
from tests.support.folders import snapshot, stored_tensors

pytestmark = QUIET_TRAINING

TRAINING = {"learning_rate": 1e-2, "max_steps": 2, "per_device_train_batch_size": 4}
WEIGHTS = "adapter_model.safetensors"


def trained(tiny, output, rows=ROWS, *, structure="lora", seed=0, **options):
    options = {"training": TRAINING, "adapter": STRUCTURES[structure], **options}
    return train_adapter(tiny, rows, output, seed=seed, **options)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path, structure):
    records = []
    for name in ("one", "two"):
        torch.rand(7)  # what was drawn before must not matter
        records.append(trained(tiny, tmp_path / name, structure=structure, seed=5))
    one, two = records
    assert one["init_sha256"] == two["init_sha256"]
    assert one["losses"] == two["losses"]
    for file in (WEIGHTS, "adapter_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("structure", ["lora", "prefix"])
def test_another_seed_gives_another_start(tiny, tmp_path, structure):
    one, two = (
        trained(tiny, tmp_path / str(seed), structure=structure, seed=seed) for seed in (5, 6)
    )
    assert one["init_sha256"] != two["init_sha256"]
    assert (tmp_path / "5" / WEIGHTS).read_bytes() != (tmp_path / "6" / WEIGHTS).read_bytes()


def test_adapters_of_different_data_start_from_one_point(tiny, tmp_path):
    """Otherwise Rt - Rs would mostly be the difference of two initialisations."""
    one, two = trained(tiny, tmp_path / "one", ROWS[:4]), trained(tiny, tmp_path / "two", ROWS[4:])
    assert one["init_sha256"] == two["init_sha256"]
    assert (tmp_path / "one" / WEIGHTS).read_bytes() != (tmp_path / "two" / WEIGHTS).read_bytes()


def test_the_digest_is_of_the_values(tiny):
    """Another rank starts from other values under the same seed."""
    digests = []
    for r in (2, 4):
        model, digest = initialised(tiny, {**STRUCTURES["lora"], "r": r}, 0)
        model.unload()
        tiny.model.requires_grad_(False)
        digests.append(digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("restricted", [False, True])
def test_the_base_model_is_as_it_was(tiny, tmp_path, structure, restricted):
    before = state(tiny)
    vocabulary = vocabulary_of(tiny, ROWS) if restricted else None
    trained(tiny, tmp_path / "out", structure=structure, vocabulary=vocabulary)
    assert_untouched(tiny, before)


def test_the_base_model_is_as_it_was_after_a_failure(tiny, tmp_path):
    before = state(tiny)
    with pytest.raises(ValueError, match="no such scheduler"):
        trained(
            tiny, tmp_path / "out", training={**TRAINING, "lr_scheduler_type": "no such scheduler"}
        )
    assert_untouched(tiny, before)
    assert not (tmp_path / "out").exists()


def test_what_a_training_says_of_itself(tiny, tmp_path):
    record = trained(
        tiny,
        tmp_path / "out",
        training={"num_train_epochs": 3, "per_device_train_batch_size": 5},
    )
    assert record["rows"] == 8
    assert record["tokens"] == sum(len(ids_of(tiny, row)[0]) for row in ROWS)
    assert record["steps"] == len(record["losses"]) == 6  # 5 and 3 rows in each of 3 epochs
    assert record["training_seconds"] > 0
    assert len(record["init_sha256"]) == 64
    json.dumps(record, allow_nan=False)


def test_the_saved_config_is_what_was_asked_for(tiny, tmp_path):
    trained(tiny, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert len(config["target_modules"]) == 7


def test_an_adapter_of_unknown_type_is_refused(tiny):
    with pytest.raises(InputError, match=r"found unknown; needed lora or ia3 or prefix"):
        adapter_config({"type": "unknown"}, tiny)


def test_bfloat16_is_used_where_the_recipe_says_so(tiny, tmp_path, monkeypatch):
    """In the layers and in the loss; what is trained and saved stays float32."""
    monkeypatch.setattr(fitting, "bfloat16_products", lambda: True)
    before = state(tiny)
    found, usual = (
        trained(tiny, tmp_path / str(bf16), training={**TRAINING, "bf16": bf16})["losses"]
        for bf16 in (True, False)
    )
    assert found != usual
    assert found == pytest.approx(usual, rel=0.05)
    saved, exact = (stored_tensors(tmp_path / str(bf16)) for bf16 in (True, False))
    assert {x.dtype for x in saved.values()} == {x.dtype for x in exact.values()}
    assert_untouched(tiny, before)


def test_bfloat16_is_refused_where_it_would_be_slower(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "bfloat16_products", lambda: False)
    with pytest.raises(InputError, match="training: bf16: found True; needed false"):
        trained(tiny, tmp_path / "out", training={**TRAINING, "bf16": True})
    assert not (tmp_path / "out").exists()


def test_what_a_training_before_left_over_is_gone_when_one_begins(tiny, tmp_path):
    """A worker's memory would grow with each: collections are rare, and trainers are knots."""
    left = type("Left", (), {})()
    left.itself, gone = left, weakref.ref(left)
    gc.collect()  # makes it old
    del left
    assert gone() is not None
    gc.disable()
    try:
        trained(tiny, tmp_path / "out")
    finally:
        gc.enable()
    assert gone() is None


SAVED = """
import sys
from pathlib import Path
from adamergex.models import backbone
from adamergex.train import train_adapter
from tests.support.backbones import ROWS, STRUCTURES
training = {"max_steps": 1, "per_device_train_batch_size": 4}
for structure in ("lora", "ia3"):
    options = {"adapter": STRUCTURES[structure], "training": training, "seed": 0}
    train_adapter(backbone(sys.argv[1]), ROWS, Path(sys.argv[2]) / structure, **options)
"""


def test_another_process_writes_the_same_folder(tiny_folder, tmp_path):
    """Sets of strings, in which PEFT holds the names of modules, have an order for each process."""
    found = []
    for hashing in ("1", "2"):
        call = [sys.executable, "-W", "ignore", "-c", SAVED, tiny_folder, tmp_path / hashing]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": f"{root}:{root}/src"}
        subprocess.run(call, check=True, env=environment, capture_output=True)
        found.append(snapshot(tmp_path / hashing))
    assert len(found[0]) > 4
    assert found[0] == found[1]
