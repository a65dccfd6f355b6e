"""A model divided among two processes: each holds its half, and what comes out is the same."""

import os

import pytest
import torch
from torch import distributed
from torch.multiprocessing import spawn
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.models import backbone, dividing
from adamergex.models.sharding import _MESH, divided

ROWS = [[5, 6, 7, 8], [9, 10]]
COUNT = 2


def member(rank, name, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(COUNT)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29_500 + os.getppid() % 500)}
    with dividing():
        base = backbone(name)
        found = base.hidden(base.model, ROWS)
    held = {n: getattr(p, "_local_tensor", p).numel() for n, p in base.model.named_parameters()}
    torch.save((held, found), folder / str(rank))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_each_process_holds_its_part_and_computes_with_the_whole(tiny_folder, tmp_path):
    spawn(member, (str(tiny_folder), tmp_path), nprocs=COUNT)
    parts = [torch.load(tmp_path / str(rank)) for rank in range(COUNT)]
    whole = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    for name, weight in whole.named_parameters():
        held = [part[name] for part, _ in parts]
        if ".layers." in name:
            assert sum(held) == weight.numel(), name
            assert max(held) <= weight[: (len(weight) + 1) // COUNT].numel(), name
        else:
            assert held == [weight.numel()] * COUNT, name
    with torch.no_grad():
        wanted = [whole.model(torch.tensor([row])).last_hidden_state[0] for row in ROWS]
    for _, found in parts:
        torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-5)


def test_a_model_that_does_not_name_its_layers():
    token = _MESH.set("not asked")
    with pytest.raises(InputError, match="parallel: shard: found true, for plain; needed false"):
        divided("plain", torch.nn.Linear(2, 2))
    _MESH.reset(token)
