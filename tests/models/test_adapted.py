"""Adapters put on the backbone for the length of a block: as PEFT has them, and gone afterwards.

`adapted` adds a LoRA update to the weight where PEFT runs the factors beside it: another order of
the same float32 sums, so logits of size 1 to 10 agree to about 1e-6 of the largest.
"""

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from tests.support.backbones import QUIET_TRAINING, ROWS, assert_untouched, ids_of, state
from tests.support.models import randomised

pytestmark = QUIET_TRAINING

TOLERANCE = 2e-5
ALL = "all-linear"


def lora(**options):
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, "target_modules": ALL, **options})


PLAIN_LORA = {
    "scaling 2": lora(lora_alpha=8),
    "scaling 1/8": lora(lora_alpha=0.5),
    "rslora": lora(lora_alpha=8, use_rslora=True),
    "rank pattern": lora(rank_pattern={"down_proj": 2}, lora_alpha=3),
    "alpha pattern": lora(alpha_pattern={r"layers\.1\..*_proj": 1}),
    "some modules": lora(target_modules=["q_proj", "up_proj"]),
}
OTHERS = {
    "dora": lora(use_dora=True),
    "lora beside other weights": lora(modules_to_save=["input_layernorm"]),
    "ia3": peft.IA3Config(
        task_type="CAUSAL_LM",
        target_modules=["k_proj", "down_proj"],
        feedforward_modules=["down_proj"],
    ),
    "prefix": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}
EVERY = {**PLAIN_LORA, **OTHERS}


@pytest.fixture
def fresh(tiny_folder):
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()


@pytest.fixture
def folder(request, fresh, tmp_path):
    """A random adapter as PEFT saves it."""
    model = randomised(peft.get_peft_model(fresh, EVERY[request.param]), seed=1)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return tmp_path / "adapter"


def by_rows(backbone, model):
    """The last hidden states of every row, packed; then those of each row times the head."""
    rows = [ids_of(backbone, row)[0] for row in ROWS]
    with torch.no_grad():
        states = backbone.hidden(model, rows)
        logits = states @ backbone.model.get_output_embeddings().weight.T
    return logits.split([len(row) for row in rows])


def alone(backbone, model):
    rows = [ids_of(backbone, row)[0] for row in ROWS]
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits[0] for row in rows]


def largest_difference(one, other):
    return max(float((x - y).abs().max()) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_the_same_logits_as_peft(tiny, tiny_folder, folder):
    reloaded = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    wanted = alone(tiny, peft.PeftModel.from_pretrained(reloaded, folder).eval())
    with tiny.adapted(folder) as model:
        found = by_rows(tiny, model)
    size = max(float(x.abs().max()) for x in wanted)
    assert largest_difference(found, wanted) < TOLERANCE * size
    assert largest_difference(wanted, alone(tiny, tiny.model)) > 0.1


@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_every_weight_is_restored_bit_for_bit(tiny, folder):
    before = state(tiny)
    with tiny.adapted(folder):
        pass
    assert_untouched(tiny, before)


@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_and_also_where_the_block_raises(tiny, folder):
    before = state(tiny)
    with pytest.raises(ZeroDivisionError), tiny.adapted(folder):
        raise ZeroDivisionError
    assert_untouched(tiny, before)


@pytest.mark.parametrize("folder", PLAIN_LORA, indirect=True)
def test_plain_lora_costs_no_wrapping(tiny, folder):
    with tiny.adapted(folder) as model:
        assert model is tiny.model
        assert not any("peft" in type(m).__module__ for m in model.modules())


@pytest.mark.parametrize("folder", OTHERS, indirect=True)
def test_everything_else_goes_through_peft(tiny, folder):
    with tiny.adapted(folder) as model:
        assert isinstance(model, peft.PeftModel)
        assert not model.training


@pytest.mark.parametrize("folder", ["rslora", "ia3"], indirect=True)
def test_a_pickle_is_put_on_only_where_it_is_allowed(tiny, folder):
    with tiny.adapted(folder) as model:
        wanted = by_rows(tiny, model)
    weights = folder / "adapter_model.safetensors"
    torch.save(load_file(weights), folder / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(InputError, match="--allow-pickle"), tiny.adapted(folder):
        pass
    with tiny.adapted(folder, allow_pickle=True) as model:
        assert largest_difference(by_rows(tiny, model), wanted) == 0


def test_without_an_adapter_it_is_the_base(tiny):
    with tiny.adapted(None) as model:
        assert model is tiny.model
    assert largest_difference(by_rows(tiny, tiny.model), alone(tiny, tiny.model)) < 1e-4


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.:UserWarning:peft")
def test_an_adapter_on_the_output_layer_is_refused(tiny, fresh, tmp_path):
    """Training and scoring take the output layer for the base's own, which it then is not."""
    config = lora(target_modules=["q_proj", "lm_head"])
    model = randomised(peft.get_peft_model(fresh, config), seed=1)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    before = state(tiny)
    with pytest.raises(InputError, match="output layer"), tiny.adapted(tmp_path / "adapter"):
        pass
    assert_untouched(tiny, before)
