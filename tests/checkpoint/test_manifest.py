"""The model card and the advice for servers."""

import pytest

from adamergex.checkpoint import (
    BUILTIN,
    card,
    hub_base,
    notice_of_base,
    obstacles,
    serving_rank,
    versions,
)
from tests.support.folders import BASE, IA3, LORA, PREFIX, PREFIX_TUNING

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
    "obstacles": {"vLLM": None, "llama.cpp": None},
}
Q = f"{PREFIX}.0.self_attn.q_proj"
FACTORS = {f"{Q}.lora_A.weight": (2, 8), f"{Q}.lora_B.weight": (8, 2)}
TOP = "base_model.model"
BEYOND_PLAIN = {
    "dora": {**LORA, "use_dora": True},
    "biases in the updates": {**LORA, "lora_bias": True},
    "trained biases": {**LORA, "bias": "all"},
    "biases of the same layers": {**LORA, "bias": "lora_only"},
    "weights saved whole": {**LORA, "modules_to_save": ["embed_tokens"]},
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
    assert 'base_model: "org/model"\nbase_model_relation: "adapter"\n' in front(text)
    words = " ".join(text.split())
    assert "Made from 2 adapters, without training, at scale t = 0.5 by adamergex 0.1.0:" in words
    assert "\n\n    W = W_T + t (W_Rt - W_Rs)\n\n" in text
    assert "--max-lora-rank 32" in text
    assert "| reference target | `rt` | `abababababababab` |" in text


def test_a_rank_too_large_for_vllm_is_said():
    text = card({**MANIFEST, "rank": 1000}, LORA)
    assert "- vLLM: its rank is too large: `adamergex export . --to merged" in text
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


def against(config, **extra):
    return obstacles(config, {**FACTORS, **extra})


def text_of(config, **extra):
    found = against(config, **extra)
    return card({**MANIFEST, "obstacles": found}, config)


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN)
def test_plain_lora_can_be_served(config):
    assert set(against(config).values()) == {None}
    text = text_of(config)
    assert "cannot serve" not in text
    serve = f"vllm serve {BASE} --enable-lora --max-lora-rank 32 --lora-modules adapter=."
    assert serve in text.splitlines()
    assert "adamergex export . --to gguf --llama-cpp llama.cpp --output gguf" in text.splitlines()


@pytest.mark.parametrize("config", BEYOND_PLAIN.values(), ids=BEYOND_PLAIN)
def test_anything_else_is_said_not_to_be_servable(config):
    assert all(against(config).values())
    text = text_of(config)
    assert "Servers that load plain LoRA only cannot serve it" in text
    assert "vllm serve" not in text
    assert "--to gguf" not in text


HIDDEN = {
    # What a config says nothing of: PEFT saves embeddings by itself, and heads by the task's type.
    "embeddings": (f"{TOP}.model.embed_tokens.weight", True, True),
    "an output layer": (f"{TOP}.lm_head.weight", True, True),
    "GPT-NeoX's": (f"{TOP}.embed_out.weight", True, True),
    "beneath LoRA": (f"{TOP}.lm_head.base_layer.weight", True, True),
    "beneath LoRA, under another name": (f"{TOP}.embed_out.base_layer.weight", True, True),
    "a head that the config does not name": (f"{TOP}.score.weight", True, True),
    "a bias": (f"{Q}.base_layer.bias", True, True),
    "a bias of B": (f"{Q}.lora_B.bias", True, True),
    "a magnitude": (f"{Q}.lora_magnitude_vector", True, True),
}


@pytest.mark.parametrize(("name", "vllm", "llama_cpp"), HIDDEN.values(), ids=HIDDEN)
def test_the_tensors_count_and_not_the_config_alone(name, vllm, llama_cpp):
    found = against(LORA, **{name: (8,)})
    assert (bool(found["vLLM"]), bool(found["llama.cpp"])) == (vllm, llama_cpp)
    assert name in str(found) or "DoRA" in str(found) or "biases" in str(found)
    text = text_of(LORA, **{name: (8,)})
    assert "vllm serve" not in text
    assert "--to gguf" not in text


@pytest.mark.parametrize(
    ("names", "saved", "serves"),
    [
        (["score.weight"], ["score"], True),
        (["score.weight"], ["classifier", "score"], True),
        (["classifier.weight", "classifier.bias"], ["classifier"], True),
        (["model.score.weight"], ["score"], True),
        (["score.weight", "classifier.weight"], ["classifier", "score"], False),
        (["classifier.dense.weight"], ["classifier"], False),
        (["score.weight"], ["score", "embed_tokens"], False),
        (["qa_outputs.weight"], ["qa_outputs"], False),
    ],
    ids=str,
)
def test_vllm_takes_one_head_of_a_known_name_and_llama_cpp_none(names, saved, serves):
    config = {**LORA, "modules_to_save": saved}
    extra = {f"{TOP}.{name}": (3, 8) for name in names}
    found = against(config, **extra)
    assert (found["vLLM"] is None) == serves
    assert any(name in found["llama.cpp"] for name in names)
    lines = text_of(config, **extra)
    assert ("vllm serve" in lines) == serves
    assert "--to gguf" not in lines


def test_lora_on_the_output_layer_is_for_vllm():
    """llama.cpp's converter refuses it in models whose output layer is their embeddings."""
    head = {f"{TOP}.lm_head.lora_A.weight": (2, 8), f"{TOP}.lm_head.lora_B.weight": (33, 2)}
    found = against(LORA, **head)
    assert found["vLLM"] is None
    assert "lm_head" in found["llama.cpp"]


def test_a_convolution_is_said_not_to_be_servable():
    kernel = {f"{TOP}.conv.lora_A.weight": (2, 3, 5, 5), f"{TOP}.conv.lora_B.weight": (8, 2, 1, 1)}
    assert all("convolutions" in why for why in against(LORA, **kernel).values())


def test_a_base_model_name_cannot_add_a_key():
    text = card(MANIFEST, {"base_model_name_or_path": "x\nlicense: mit"})
    assert not any(line.startswith("license") for line in front(text).splitlines())


PLACES = [
    "/home/me/model", "./models/x", "../x", "~/x", "C:\\models\\x", "models/a/b", "gguf:x", "x y/z",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_place_on_this_machine_is_not_published(place):
    text = card(MANIFEST, {"base_model_name_or_path": place})
    assert place not in text
    assert "base_model" not in front(text)
    assert place in notice_of_base({"base_model_name_or_path": place})


def test_a_folder_here_is_no_strangers_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"base_model_name_or_path": "models/gemma"}
    assert "models/gemma" in card(MANIFEST, config)
    (tmp_path / "models" / "gemma").mkdir(parents=True)
    assert "models/gemma" not in card(MANIFEST, config)
    assert notice_of_base(config)


@pytest.mark.parametrize(
    "name", [BUILTIN, "/home/me/.cache/adamergex/gemma-3-270m-0123456789abcdef"]
)
def test_the_built_in_model_is_known_by_its_name_on_the_hub(name):
    assert hub_base(name) == "google/gemma-3-270m"
    assert notice_of_base({"base_model_name_or_path": name}) is None
    text = card({**MANIFEST, "builtin": True}, {"base_model_name_or_path": name})
    assert "Q4_K_M" in text
    assert "/home" not in text
    assert "Q4_K_M" not in card(MANIFEST, {"base_model_name_or_path": "google/gemma-3-270m"})


def test_versions_name_what_computed_the_numbers():
    assert set(versions()) == {"adamergex", "numpy", "safetensors"}
