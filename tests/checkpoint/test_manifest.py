"""The model card and the advice for servers."""

import pytest

from adamergex.checkpoint import card, servable, serving_rank, versions
from tests.support.folders import IA3, LORA, PREFIX_TUNING

MANIFEST = {
    "structure": "LORA",
    "space": "weight",
    "formula": "W = W_T + t (W_Rt - W_Rs)",
    "scale": 0.5,
    "dtype": "float32",
    "rank": 24,
    "versions": {"adamergex": "0.1.0"},
    "inputs": {
        "task": {"name": "t", "sha256": {"weights": "cd" * 32}},
        "reference_target": {"name": "rt", "sha256": {"weights": "ab" * 32}},
    },
}
BEYOND_PLAIN = {
    "dora": {**LORA, "use_dora": True},
    "biases in the updates": {**LORA, "lora_bias": True},
    "trained biases": {**LORA, "bias": "all"},
    "biases of the same layers": {**LORA, "bias": "lora_only"},
    "a head": {**LORA, "modules_to_save": ["score"]},
    "ia3": IA3,
    "prefix": PREFIX_TUNING,
}


def front(text):
    return text.split("---")[1]


@pytest.mark.parametrize(
    ("rank", "allowed"), [(1, 1), (2, 8), (8, 8), (24, 32), (96, 128), (512, 512), (513, None)]
)
def test_the_smallest_rank_that_vllm_takes(rank, allowed):
    assert serving_rank(rank) == allowed


def test_the_card_says_how_it_was_made_and_how_to_use_it():
    text = card(MANIFEST, {**LORA, "base_model_name_or_path": "org/model"})
    assert 'base_model: "org/model"' in front(text)
    words = " ".join(text.split())
    assert "Made from 2 adapters, without training, at scale t = 0.5 by adamergex 0.1.0:" in words
    assert "\n\n    W = W_T + t (W_Rt - W_Rs)\n\n" in text
    assert "--max-lora-rank 32" in text
    assert "| reference target | `rt` | `abababababababab` |" in text


def test_a_rank_too_large_for_vllm_is_said():
    text = card({**MANIFEST, "rank": 1000}, LORA)
    assert "For vLLM: merge it first" in text
    assert "--max-lora-rank" not in text


PLAIN = {
    "bare": LORA,
    "all off": {
        **LORA,
        "use_dora": False,
        "lora_bias": False,
        "bias": "none",
        "modules_to_save": None,
    },
    "no module": {**LORA, "modules_to_save": []},
}


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN)
def test_plain_lora_can_be_served(config):
    assert servable(config)
    assert "cannot serve" not in card(MANIFEST, config)


@pytest.mark.parametrize("config", BEYOND_PLAIN.values(), ids=BEYOND_PLAIN)
def test_anything_else_is_said_not_to_be_servable(config):
    assert not servable(config)
    text = card(MANIFEST, config)
    assert "Servers that load plain LoRA only cannot serve it" in text
    assert "vllm" not in text.lower()


def test_a_base_model_name_cannot_add_a_key():
    text = card(MANIFEST, {"base_model_name_or_path": "x\nlicense: mit"})
    assert not any(line.startswith("license") for line in front(text).splitlines())


def test_a_path_on_this_machine_is_not_published():
    assert "/home" not in card(MANIFEST, {"base_model_name_or_path": "/home/me/model"})


def test_versions_name_what_computed_the_numbers():
    assert set(versions()) == {"adamergex", "numpy", "safetensors"}
