"""The last layer where states are asked for: these are what they would be, the rest is not run."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from adamergex.models import answer_states, backbone, last_hidden, prefilled
from adamergex.models.asked import asked_only
from tests.support.backbones import DECODERS, QUIET_TRAINING, write_tiny

pytestmark = QUIET_TRAINING

ROWS = [[3, 4, 5, 6], [7], [8, 9, 10]]
NARROW = ("self_attn.q_proj", "self_attn.o_proj", "mlp")


@pytest.fixture(params=DECODERS)
def decoder(request, tmp_path):
    return backbone(str(write_tiny(request.param, tmp_path)))


@pytest.fixture
def run(decoder):
    """How many tokens went through each part of the last layer."""
    seen = {}

    def spy(name):
        def hook(_, inputs):
            seen[name] = inputs[0].shape[:-1].numel()

        return hook

    last = decoder.model.get_decoder().layers[-1]
    for name in (*NARROW, "self_attn.k_proj"):
        last.get_submodule(name).register_forward_pre_hook(spy(name))
    return seen


@torch.no_grad()
def test_states_before_answers(decoder, run):
    wanted = answer_states(decoder, decoder.model, ROWS)
    assert set(run.values()) == {8}
    found = answer_states(decoder, decoder.model, ROWS, shared=True)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert run == {**dict.fromkeys(NARROW, 3), "self_attn.k_proj": 8}


@torch.no_grad()
def test_prompts_that_are_filled_up(decoder, run):
    found = prefilled(decoder.model, ROWS).states
    assert run == {**dict.fromkeys(NARROW, 3), "self_attn.k_proj": 12}
    wanted = answer_states(decoder, decoder.model, ROWS)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_afterwards_every_state_is_what_it_was(decoder):
    ids = torch.tensor([[3, 4, 5]])
    before = last_hidden(decoder.model, ids)
    last = last_hidden(decoder.model, ids, positions=torch.arange(3)[None], asked=torch.tensor([2]))
    torch.testing.assert_close(last[0, 2], before[0, 2])
    assert not torch.allclose(last[0, 0], before[0, 0])
    torch.testing.assert_close(last_hidden(decoder.model, ids), before, rtol=0, atol=0)


class _Routed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.router = inner, nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.inner(x) * self.router


@torch.no_grad()
def test_a_feed_forward_that_is_more_than_linear_layers_is_run_whole(decoder):
    """Experts may weigh tokens against each other, or return more than states."""
    base = AutoModelForCausalLM.from_pretrained(decoder.model.name_or_path).eval()
    last = base.get_decoder().layers[-1]
    last.mlp = _Routed(last.mlp)
    asked_only(base)
    run = []
    last.mlp.register_forward_pre_hook(lambda _, inputs: run.append(inputs[0].shape[1]))
    found = answer_states(replace(decoder, model=base), base, ROWS, shared=True)
    assert run == [8]
    torch.testing.assert_close(found, answer_states(decoder, decoder.model, ROWS))
