"""What was written is what PEFT loads: every tensor, without a warning (they are errors here)."""

import re
import shutil

import numpy as np
import peft
import pytest
from peft.utils import get_peft_model_state_dict

from adamergex import merge
from tests.checkpoint.test_wrappers import renamed
from tests.support.folders import config_of, edit_config, stored_tensors
from tests.support.models import (
    QUIET,
    gpt2,
    llama,
    t5,
    three_saved,
    xlmr,
    xlmr_masked,
)

pytestmark = [
    QUIET,
    pytest.mark.filterwarnings(
        "ignore:`lora_bias=True` was passed",
        "ignore:Setting `save_embedding_layers` to `True`",
        "ignore:Model has `tie_word_embeddings=True`",
    ),
]
WEIGHTS = "adapter_model.safetensors"
SCALE = 0.5


def lora(**options):
    return lambda: peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 8, **options})


LLAMA = ["q_proj", "v_proj", "down_proj"]
STRUCTURES = {
    "lora": (llama, lora(target_modules=LLAMA)),
    "dora": (llama, lora(target_modules=LLAMA, use_dora=True)),
    "rslora with ranks": (
        llama,
        lora(target_modules=LLAMA, use_rslora=True, rank_pattern={"down_proj": 3}),
    ),
    "embeddings": (llama, lora(target_modules=["embed_tokens", "q_proj", "lm_head"])),
    "convolutions": (gpt2, lora(target_modules=["c_attn"], fan_in_fan_out=True)),
    "biases": (gpt2, lora(target_modules=["c_attn"], fan_in_fan_out=True, bias="all")),
    "biases of B": (xlmr_masked, lora(target_modules=["query"], lora_bias=True, task_type=None)),
    "a head": (xlmr, lora(target_modules=["query"], task_type="SEQ_CLS")),
    "encoder-decoder": (t5, lora(target_modules=["q", "wo"], task_type="SEQ_2_SEQ_LM")),
    "ia3": (
        llama,
        lambda: peft.IA3Config(
            task_type="CAUSAL_LM",
            target_modules=["k_proj", "down_proj"],
            feedforward_modules=["down_proj"],
        ),
    ),
    "prefix": (
        llama,
        lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Structure -> base, T Rt Rs, and what they merge to; each made once."""
    found = {}

    def get(structure):
        if structure not in found:
            base, config = STRUCTURES[structure]
            folder = tmp_path_factory.mktemp("made")
            inputs = three_saved(base, config, folder)
            merge(**inputs, scale=SCALE).save(folder / "out")
            found[structure] = base, inputs, folder / "out"
        return found[structure]

    return get


def assert_loads(base, folder):
    """PEFT's model has every tensor of the folder; without it they would be others."""
    model = peft.PeftModel.from_pretrained(base(), folder)
    has = {**model.state_dict(), **get_peft_model_state_dict(model, save_embedding_layers=False)}
    fresh = {**base().state_dict()}
    stored = stored_tensors(folder, np.float32)
    for name, value in stored.items():
        np.testing.assert_array_equal(has[name].detach().float().numpy(), value, err_msg=name)
    adapter = [name for name in stored if re.search("lora_|ia3_|prompt", name)]
    assert adapter
    assert not any(name in fresh for name in adapter)
    assert all(np.any(stored[name]) for name in adapter)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_peft_loads_every_tensor_of_a_merge(made, structure):
    base, _, out = made(structure)
    assert_loads(base, out)


PEFT = "base_model.model."


def raw(name):
    """As in the state of a model under DDP, from which PEFT takes the adapter's own name."""
    part = re.sub(r"(lora_[AB])\.", r"\1.default.", name)
    part = re.sub(r"(lora_embedding_[AB]|ia3_l|lora_magnitude_vector)$", r"\1.default", part)
    return f"module.{part}"


WRAPPED = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled inside": lambda name: name.replace(PEFT, f"{PEFT}_orig_mod."),
    "compiled layers": lambda name: re.sub(r"\.(layers?|h)\.(\d)", r".\1.\2._orig_mod", name),
    "DDP": lambda name: f"module.module.{name}",
    "no prefix": lambda name: name.removeprefix(PEFT),
    "raw": raw,
}


@pytest.mark.parametrize(
    "structure", ["lora", "dora", "embeddings", "biases", "biases of B", "a head", "ia3"]
)
@pytest.mark.parametrize("new", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_adapters_merge_to_the_same_bytes(made, tmp_path, structure, new):
    """Which PEFT loads whole, by the test above."""
    _, inputs, out = made(structure)
    found = {role: renamed(shutil.copytree(x, tmp_path / role), new) for role, x in inputs.items()}
    merged = merge(**found, scale=SCALE)
    merged.save(tmp_path / "out")
    assert merged.summary["renamed"].keys() == inputs.keys()
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()


def test_doras_magnitudes_land_in_their_other_form_too(made, tmp_path):
    base, inputs, out = made("dora")
    found = {role: shutil.copytree(x, tmp_path / role) for role, x in inputs.items()}
    for folder in found.values():
        renamed(folder, lambda n: n.replace("magnitude_vector", "magnitude_vector.weight"))
    merge(**found, scale=SCALE).save(tmp_path / "out")
    states = [
        peft.PeftModel.from_pretrained(base(), x).state_dict() for x in (out, tmp_path / "out")
    ]
    magnitudes = [name for name in states[0] if "magnitude" in name]
    assert magnitudes
    for name in magnitudes:
        assert states[0][name].equal(states[1][name])


# What a config may say of where the adapter is, which PEFT follows whatever tensors there are.
ELSEWHERE = {
    "some of the modules": {"target_modules": ["q_proj"]},
    "none": {"target_modules": None},
    "a wrapper's names": {"target_modules": ["_orig_mod.q_proj", "_orig_mod.v_proj"]},
    "a shorthand": {"target_modules": "all-linear"},
    "a pattern of other modules": {"target_modules": r"model\.layers\.\d+\.mlp.*"},
    "a pattern with lookaround": {"target_modules": r"(?=.*layers).*\b(q|v|down)_proj"},
    "some of the layers": {"layers_to_transform": [0]},
    "the first layer": {"layers_to_transform": 0, "layers_pattern": "layers"},
    "without some": {"exclude_modules": ["v_proj"]},
    "without a pattern": {"exclude_modules": r".*\.1\..*"},
}


@pytest.mark.parametrize(
    ("structure", "changes"),
    [("lora", changes) for changes in ELSEWHERE.values()]
    + [("ia3", changes) for changes in ELSEWHERE.values() if "layers_to_transform" not in changes],
    ids=str,
)
def test_the_config_leads_peft_to_every_tensor(made, tmp_path, structure, changes):
    base, inputs, out = made(structure)
    found = {role: shutil.copytree(x, tmp_path / role) for role, x in inputs.items()}
    edit_config(found["task"], **changes)
    merge(**found, scale=SCALE).save(tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()
    assert_loads(base, tmp_path / "out")


@pytest.mark.parametrize(
    "target", [sorted(LLAMA), r".*\.(q|v|down)_proj", r"model\.layers\.\d+\..*_proj"], ids=str
)
def test_a_config_that_does_already_stays_as_it_is(made, tmp_path, target):
    _, inputs, _ = made("lora")
    found = {role: shutil.copytree(x, tmp_path / role) for role, x in inputs.items()}
    edit_config(found["task"], target_modules=target)
    merge(**found).save(tmp_path / "out")
    assert config_of(tmp_path / "out")["target_modules"] == target
