"""Frozen weights in bfloat16 for the length of a training: what autocast would make of them."""

from contextlib import nullcontext

import pytest
import torch

from adamergex.models import backbone
from adamergex.train import fitting, train_adapter
from adamergex.train.precision import frozen_in_bfloat16
from tests.support.backbones import (
    FAMILIES,
    QUIET_TRAINING,
    ROWS,
    STRUCTURES,
    assert_untouched,
    state,
    write_tiny,
)
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING


def narrow(model):
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.weight.dtype == torch.bfloat16
    }


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_narrow_within_and_to_the_bit_as_before_after_an_error(family, exact, tmp_path):
    base = backbone(str(write_tiny(family, tmp_path / "base")))
    if exact:
        for weight in base.model.parameters():
            weight.data = weight.data.bfloat16().float()
    before = state(base)
    output = base.model.get_output_embeddings()
    with pytest.raises(KeyboardInterrupt), frozen_in_bfloat16(base):
        assert narrow(base.model)
        assert output is None or output.weight.dtype == torch.float32
        raise KeyboardInterrupt
    assert_untouched(base, before)


def test_an_adapter_is_what_autocast_alone_makes_of_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "bfloat16_products", lambda: True)
    training = {"max_steps": 3, "learning_rate": 1e-2, "bf16": True}

    def trained(name):
        found = train_adapter(
            tiny, ROWS, tmp_path / name, adapter=STRUCTURES["lora"], training=training, seed=0
        )
        return found["losses"], stored_tensors(tmp_path / name)

    losses, tensors = trained("kept")
    monkeypatch.setattr(fitting, "frozen_in_bfloat16", lambda _: nullcontext())
    expected, others = trained("cast")
    assert losses == expected
    assert {k: v.tobytes() for k, v in tensors.items()} == {
        k: v.tobytes() for k, v in others.items()
    }
