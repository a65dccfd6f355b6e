"""The model card and the advice for servers."""

import pytest

from adamergex.checkpoint import card, serving_rank, versions

MANIFEST = {
    "structure": "LORA",
    "space": "weight",
    "scale": 0.5,
    "dtype": "float32",
    "rank": 24,
    "versions": {"adamergex": "0.1.0"},
    "inputs": {"reference_target": {"name": "rt", "sha256": {"weights": "ab" * 32}}},
}


def front(text):
    return text.split("---")[1]


@pytest.mark.parametrize(
    ("rank", "allowed"), [(1, 1), (2, 8), (8, 8), (24, 32), (96, 128), (512, 512), (513, None)]
)
def test_the_smallest_rank_that_vllm_takes(rank, allowed):
    assert serving_rank(rank) == allowed


def test_the_card_says_how_it_was_made_and_how_to_use_it():
    text = card(MANIFEST, {"base_model_name_or_path": "org/model"})
    assert 'base_model: "org/model"' in front(text)
    assert "--max-lora-rank 32" in text
    assert "| reference target | `rt` | `abababababababab` |" in text


def test_a_rank_too_large_for_vllm_is_said():
    assert "--max-lora-rank" not in card({**MANIFEST, "rank": 1000}, {})


def test_a_base_model_name_cannot_add_a_key():
    text = card(MANIFEST, {"base_model_name_or_path": "x\nlicense: mit"})
    assert not any(line.startswith("license") for line in front(text).splitlines())


def test_a_path_on_this_machine_is_not_published():
    assert "/home" not in card(MANIFEST, {"base_model_name_or_path": "/home/me/model"})


def test_versions_name_what_computed_the_numbers():
    assert set(versions()) == {"adamergex", "numpy", "safetensors"}
