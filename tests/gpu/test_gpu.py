"""What a GPU gives is what a processor gives, and what only a GPU is for works: `make gpu`.

Models are made on the spot. Differences are allowed for, not products in TF32 or bfloat16.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from adamergex.models import backbone
from adamergex.models.loading import own_backbone
from adamergex.recipe.bases import PlacedModelKwargs
from adamergex.score import generations, likelihoods
from adamergex.tasks import Item
from adamergex.train import train_adapter
from tests.run.test_parallel import assert_learnt_alike
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES
from tests.support.families import write_family

pytestmark = [
    QUIET_TRAINING,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

FAMILIES = ["llama", "gemma2", "gemma3", "qwen3-moe", "t5"]
TRAINING = {"learning_rate": 1e-2, "max_steps": 4, "per_device_train_batch_size": 4}
ITEMS = [Item(str(i), row.prompt, (" Food", " Animals", " Travel"), 0)
         for i, row in enumerate(ROWS) if row.prompt]  # fmt: skip
ADAPTER = {**STRUCTURES["lora"], "target_modules": ["q_proj", "v_proj"]}

TRAINED = """
import json, sys
from pathlib import Path
import torch
from adamergex.models import backbone
from adamergex.train import train_adapter
from tests.gpu.test_gpu import ROWS
assert not torch.cuda.is_available()
base, output, adapter, training = (json.loads(x) for x in sys.argv[1:])
record = train_adapter(
    backbone(base), ROWS, Path(output), adapter=adapter, training=training, seed=0
)
print(json.dumps(record["losses"]))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("families")
    return {name: str(write_family(name, place / name)) for name in FAMILIES}


def adapter_of(name):
    return {**ADAPTER, "target_modules": ["q", "v"]} if name == "t5" else ADAPTER


def losses_without_gpu(*values):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINED, *map(json.dumps, values)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_are_the_processor_s(folders, name):
    """Log-likelihoods to 1e-3, in float32; a text under greedy decoding to the letter."""
    base = own_backbone(folders[name])
    other = own_backbone(folders[name], None, PlacedModelKwargs(device_map="cpu"))
    assert (base.model.device.type, other.model.device.type) == ("cuda", "cpu")
    found, wanted = (likelihoods(x, x.model, ITEMS) for x in (base, other))
    for row, own in zip(found, wanted, strict=True):
        assert [x for x, _ in row] == pytest.approx([x for x, _ in own], abs=1e-3)
    asked = [Item("0", ITEMS[0].prompt, (), None, until=("\n",), max_gen_toks=4)]
    assert generations(base, base.model, asked) == generations(other, other.model, asked)


@pytest.mark.parametrize("name", FAMILIES)
def test_trainings_are_the_processor_s(folders, tmp_path, name):
    """The loss of each of four steps to one part in a thousand, in float32."""
    rows = adapter_of(name)
    base = backbone(folders[name])
    record = train_adapter(base, ROWS, tmp_path / "a", adapter=rows, training=TRAINING, seed=0)
    wanted = losses_without_gpu(folders[name], str(tmp_path / "b"), rows, TRAINING)
    assert record["losses"] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ({"dtype": "bfloat16"}, {}),
        ({}, {"bf16": True}),
        ({"dtype": "bfloat16", "quantization": "nf4"}, {}),
        ({"quantization": "int8"}, {}),
        ({"dtype": "bfloat16"}, {"gradient_checkpointing": True}),
    ],
    ids=str,
)
def test_narrow_and_quantised_bases_are_trained_on(folders, tmp_path, how, options):
    """The loss of the last of 40 steps is under two thirds of the first."""
    if "quantization" in how and find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes: pip install 'adamergex[quantization]'")
    base = own_backbone(folders["llama"], None, PlacedModelKwargs(**how))
    training = {**TRAINING, "max_steps": 40, "per_device_train_batch_size": 8, **options}
    record = train_adapter(
        base, ROWS, tmp_path / "out", adapter=STRUCTURES["lora"], training=training, seed=0
    )
    assert record["losses"][-1] < 2 / 3 * record["losses"][0]
    with base.adapted(tmp_path / "out") as model:
        found = likelihoods(base, model, ITEMS)
    assert all(torch.isfinite(torch.tensor(x)) for row in found for x, _ in row)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("shard", [False, True])
def test_two_gpus_learn_what_one_learns(tiny_folder, tmp_path, shard):
    assert_learnt_alike(tiny_folder, tmp_path, 2, shard, [], 1)
