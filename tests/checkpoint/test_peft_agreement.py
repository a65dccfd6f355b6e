"""Configs that PEFT itself writes: scalings, ranks and parts agree with PEFT's own layers."""

import pytest
from peft import LoraConfig, PeftModel, get_peft_model

from adamergex.checkpoint import open_checkpoint
from tests.support.models import QUIET, llama, lora_layers

pytestmark = QUIET

TARGETS = ["q_proj", "k_proj", "down_proj"]
PATTERNS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "rank by module": {"rank_pattern": {"k_proj": 3, "down_proj": 5}},
    "alpha by module": {"alpha_pattern": {"k_proj": 3, "down_proj": 0.5}},
    "one layer": {"rank_pattern": {"layers.1.self_attn.k_proj": 3}},
    "full name": {"rank_pattern": {"model.layers.1.self_attn.k_proj": 3}},
    "regular expression": {"alpha_pattern": {r"layers\.1\..*_proj": 5}},
    "anchored": {"alpha_pattern": {r"^model\.layers\.0.*": 5}},
    "first match wins": {"rank_pattern": {"k_proj": 3, "layers.1.self_attn.k_proj": 5}},
    "part of a name is no match": {"rank_pattern": {"proj": 5, "attn": 6}},
    "all together": {
        "use_rslora": True,
        "rank_pattern": {"layers.0.self_attn.q_proj": 3},
        "alpha_pattern": {"q_proj": 7, "layers.1.mlp.down_proj": 2},
    },
}


@pytest.mark.parametrize("options", PATTERNS.values(), ids=PATTERNS)
def test_scaling_and_rank_of_every_module(tmp_path, options):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=TARGETS, **options)
    model = get_peft_model(llama(), config)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    checkpoint = open_checkpoint(tmp_path)
    layers = lora_layers(model)
    assert checkpoint.layout.modules.keys() == {f"base_model.model.{m}" for m in layers}
    for name, layer in layers.items():
        module = f"base_model.model.{name}"
        assert checkpoint.scaling(module) == pytest.approx(layer.scaling["default"], rel=1e-12)
        assert checkpoint.config.rank(name) == layer.r["default"]
        assert checkpoint.shape(module, "a")[0] == layer.r["default"]


def test_the_patterns_survive_peft_itself(tmp_path):
    """PEFT may rewrite patterns when it saves: what counts is the model it loads again."""
    options = PATTERNS["all together"]
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=TARGETS, **options)
    get_peft_model(llama(), config).save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = lora_layers(PeftModel.from_pretrained(llama(), tmp_path))
    checkpoint = open_checkpoint(tmp_path)
    for name, layer in loaded.items():
        found = checkpoint.scaling(f"base_model.model.{name}")
        assert found == pytest.approx(layer.scaling["default"], rel=1e-12)
