"""Every tensor of an adapter lands on the model, or an error names the one that does not."""

import json
import logging
import re
import shutil
import warnings

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from adamergex.cli import main
from adamergex.errors import InputError
from adamergex.models import Backbone, backbone
from adamergex.score import TaughtChoices
from adamergex.tasks import Example, Item
from adamergex.train import distil, train_adapter
from tests.checkpoint.test_wrappers import renamed
from tests.models.test_adapted import alone, by_rows, largest_difference, lora
from tests.support.backbones import (
    QUIET_TRAINING,
    assert_untouched,
    state,
    tiny_tokenizer,
    write_tiny,
)
from tests.support.folders import (
    LORA,
    edit_config,
    edit_tensors,
    stored_tensors,
    write_adapter,
)
from tests.support.models import QUIET, gpt2, randomised

pytestmark = [
    QUIET_TRAINING,
    QUIET,
    pytest.mark.filterwarnings(
        "ignore:`lora_bias=True` was passed",
        "ignore:Model has `tie_word_embeddings=True`",
        "ignore:Setting `save_embedding_layers` to `True`",
    ),
]
TARGETS = ["q_proj", "down_proj"]
PEFT = "base_model.model."
CONFIGS = {
    "lora": lora(target_modules=TARGETS),
    "dora": lora(target_modules=TARGETS, use_dora=True),
    "biases of B": lora(target_modules=TARGETS, lora_bias=True),
    "beside other weights": lora(target_modules=TARGETS, modules_to_save=["input_layernorm"]),
    "embeddings": lora(target_modules=["embed_tokens", *TARGETS]),
    "ia3": peft.IA3Config(
        task_type="CAUSAL_LM", target_modules=TARGETS, feedforward_modules=["down_proj"]
    ),
    "ia3 by a pattern": peft.IA3Config(
        task_type="CAUSAL_LM",
        target_modules=r".*\.(q|down)_proj",
        feedforward_modules=r".*down_proj",
    ),
    "prefix": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}
MODULES = [name for name in CONFIGS if name != "prefix"]


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    """Structure -> a random adapter as PEFT saves it; each made once."""
    folders = {}

    def get(structure):
        if structure not in folders:
            folders[structure] = tmp_path_factory.mktemp("made")
            model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
            whole = (lambda name: "modules_to_save" in name) if "beside" in structure else None
            wrapped = peft.get_peft_model(model, CONFIGS[structure])
            randomised(wrapped, seed=1, touched=whole)
            wrapped.save_pretrained(
                folders[structure], save_embedding_layers=structure == "embeddings"
            )
        return folders[structure]

    return get


@pytest.fixture
def folder(request, made, tmp_path):
    return shutil.copytree(made(request.param), tmp_path / "adapter")


def refused(base, folder, **options):
    """The message; the base stays as it was."""
    before = state(base)
    with pytest.raises(InputError) as caught, base.adapted(folder, **options):
        pass
    assert_untouched(base, before)
    assert str(caught.value).isprintable()
    return str(caught.value)


def moved(name):
    return name.replace("model.layers", "model.language_model.layers")


@pytest.mark.parametrize("folder", MODULES, indirect=True)
@pytest.mark.parametrize("which", ["layers", r"layers\.1", r"layers\.2\.mlp"])
def test_modules_that_the_base_lacks_are_named_with_the_nearest(tiny, folder, which):
    """In all layers, in one, or one module alone: elsewhere the adapter would still have worked."""
    names = [n for n in stored_tensors(folder) if re.search(rf"model\.{which}", n)]
    renamed(folder, lambda name: moved(name) if name in names else name)
    message = refused(tiny, folder)
    found = re.search(r"model\.language_model\.layers\.\d+\.[\w.]*(proj|norm)", message)[0]
    assert found.replace("language_model.", "") in message.partition("nearest is")[2]
    assert any(moved(name).removeprefix(PEFT).startswith(found) for name in names)


@pytest.mark.parametrize("folder", CONFIGS, indirect=True)
def test_as_it_was_saved_it_lands(tiny, tiny_folder, folder):
    """The models agree with PEFT's own, which takes the base apart for it."""
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    wanted = alone(tiny, peft.PeftModel.from_pretrained(base, folder).eval())
    before, said = state(tiny), []
    with tiny.adapted(folder, notices=said) as model:
        found = by_rows(tiny, model)
    assert_untouched(tiny, before)
    assert largest_difference(found, wanted) < 2e-4 * max(float(x.abs().max()) for x in wanted)
    assert said == []


WRAPPED = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "no prefix": lambda name: name.removeprefix(PEFT),
    "DDP": lambda name: f"module.{name}",
}
PLAIN_ALREADY = ("prefix", "no prefix")


@pytest.mark.parametrize(
    ("folder", "new"),
    [(name, wrap) for name in CONFIGS for wrap in WRAPPED if (name, wrap) != PLAIN_ALREADY],
    indirect=["folder"],
)
def test_names_that_a_merge_takes_land_too(tiny, folder, new):
    with tiny.adapted(folder) as model:
        wanted = by_rows(tiny, model)
    renamed(folder, WRAPPED[new])
    said = []
    with tiny.adapted(folder, notices=said) as model:
        assert largest_difference(by_rows(tiny, model), wanted) == 0
    assert "tensor names read as PEFT writes them" in said[0]


@pytest.mark.parametrize("folder", [n for n in MODULES if n != "embeddings"], indirect=True)
def test_an_adapter_of_a_larger_model_is_refused(tiny, folder):
    tensors = stored_tensors(folder, np.float32)
    name = next(n for n in sorted(tensors) if re.search(r"lora_B\.weight|ia3_l|norm", n))
    module = name.partition(".lora_")[0].partition(".ia3_")[0]
    longer = [n for n in tensors if n.startswith(module) and n.partition(".lora_A")[1] == ""]
    axis = {n: int(np.argmax(tensors[n].shape)) for n in longer}
    edit_tensors(folder, {n: np.concatenate([tensors[n]] * 2, axis[n]) for n in longer})
    message = refused(tiny, folder)
    assert module.removeprefix(PEFT) in message
    assert "base" in message


@pytest.mark.parametrize("folder", MODULES, indirect=True)
def test_modules_without_tensors_stay_as_they_are(tiny, tiny_folder, folder):
    """The file says what the adapter is, not the config's target_modules."""
    edit_tensors(folder, {n: None for n in stored_tensors(folder) if "layers.1.self_attn" in n})
    before, said = state(tiny), []
    with tiny.adapted(folder, notices=said) as model:
        found = by_rows(tiny, model)
    assert_untouched(tiny, before)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")
        wanted = alone(tiny, peft.PeftModel.from_pretrained(base, folder).eval())
    assert largest_difference(found, wanted) < 2e-4 * max(float(x.abs().max()) for x in wanted)


@pytest.mark.parametrize("folder", ["prefix"], indirect=True)
def test_a_prefix_of_another_model_is_refused(tiny, folder):
    edit_config(folder, num_layers=2)
    message = refused(tiny, folder)
    assert "prompt_embeddings: found (3, 48); needed (3, 32)" in message


@pytest.mark.parametrize("folder", ["beside other weights"], indirect=True)
def test_a_saved_module_without_its_tensors_is_refused(tiny, folder):
    name = next(n for n in stored_tensors(folder) if "layernorm" in n)
    edit_tensors(folder, {name: None})
    message = refused(tiny, folder)
    assert name in message
    assert "saved whole" in message


@pytest.mark.parametrize("folder", ["lora", "dora", "ia3"], indirect=True)
def test_a_head_that_the_base_lacks_is_refused(tiny, folder):
    rows = next(x.shape for n, x in stored_tensors(folder).items() if re.search("A|ia3", n))[-1]
    edit_tensors(folder, {f"{PEFT}score.weight": np.ones((3, max(rows, 32)), np.float32)})
    message = refused(tiny, folder)
    assert f"{PEFT}score.weight" in message
    assert "nearest" in message


@pytest.mark.parametrize("folder", ["lora", "dora"], indirect=True)
def test_a_bias_that_the_base_lacks_is_refused(tiny, folder):
    """No layer of Gemma has one."""
    name = f"{PEFT}model.layers.1.self_attn.q_proj.base_layer.bias"
    edit_tensors(folder, {name: np.ones(32, np.float32)})
    edit_config(folder, bias="lora_only")
    assert f"{name}: found no place for it" in refused(tiny, folder)


@pytest.mark.parametrize("folder", ["lora", "dora", "ia3"], indirect=True)
def test_embeddings_saved_whole_are_put_on_and_taken_off(tiny, tiny_folder, folder):
    """The tied output layer goes with them, and both are the base's again afterwards."""
    name = "model.embed_tokens.weight"
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    new = base.get_parameter(name).detach() * 1.5
    edit_tensors(folder, {f"{PEFT}{name}": new.numpy()})
    base.get_parameter(name).data = new
    wanted = alone(tiny, peft.PeftModel.from_pretrained(base, folder).eval())
    before = state(tiny)
    with tiny.adapted(folder) as model:
        found = alone(tiny, model)
    assert_untouched(tiny, before)
    assert largest_difference(found, wanted) < 2e-4 * max(float(x.abs().max()) for x in wanted)


@pytest.mark.parametrize("folder", ["lora"], indirect=True)
def test_embeddings_of_a_resized_vocabulary_are_refused(tiny, folder):
    rows, width = tiny.model.get_input_embeddings().weight.shape
    edit_tensors(folder, {f"{PEFT}model.embed_tokens.weight": np.ones((rows + 1, width), "f4")})
    message = refused(tiny, folder)
    assert "embed_tokens.weight" in message
    assert f"({rows + 1}, {width})" in message
    assert f"({rows}, {width})" in message


def with_biases():
    """GPT-2, whose layers have biases, as a backbone."""
    model = gpt2()
    model.requires_grad_(False)
    return Backbone(model, tiny_tokenizer())


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_trained_biases_are_put_on_and_taken_off(tmp_path, bias):
    config = lora(target_modules=["c_attn"], fan_in_fan_out=True, bias=bias)
    model = randomised(peft.get_peft_model(gpt2(), config), 1, touched=lambda n: n.endswith("bias"))
    model.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    base, ids = with_biases(), torch.tensor([[3, 7, 1]])
    before = state(base)
    with base.adapted(tmp_path / "a") as adapted, torch.no_grad():
        found = adapted(ids).logits
    assert_untouched(base, before)
    with torch.no_grad():
        wanted = peft.PeftModel.from_pretrained(gpt2(), tmp_path / "a").eval()(ids).logits
    torch.testing.assert_close(found, wanted)


def test_training_biases_leaves_the_base_as_it_was(tmp_path):
    """They are trained in place: the next training would begin from them."""
    base = backbone(str(write_tiny("xlm-roberta", tmp_path / "model")))
    before = state(base)
    adapter = {"type": "lora", "r": 2, "target_modules": ["query"], "bias": "all"}
    rows = [Example("", "a red apple with the face")] * 4
    training = {"learning_rate": 1e-2, "max_steps": 2}
    train_adapter(base, rows, tmp_path / "a", adapter=adapter, training=training, seed=0)
    assert_untouched(base, before)
    stored = stored_tensors(tmp_path / "a", np.float32)
    name = "roberta.encoder.layer.1.attention.self.query"
    trained = stored[f"{PEFT}{name}.base_layer.bias"]
    assert np.abs(trained - before[f"{name}.bias"].numpy()).max() > 1e-3


@pytest.mark.parametrize("folder", ["lora", "dora"], indirect=True)
def test_on_top_of_it_nothing_is_trained_either(tiny, folder):
    renamed(folder, moved)
    before = state(tiny)
    with pytest.raises(InputError, match="nearest"), tiny.upon(folder):
        pass
    assert_untouched(tiny, before)


NO_EFFECT = {
    "lora": {"lora_B": 0},
    "dora": {"lora_B": 0, "magnitude": None},
    "biases of B": {"lora_B": 0},
    "embeddings": {"lora_B": 0, "lora_embedding_B": 0},
    "ia3": {"ia3_l": 1},
}


def idle(folder, base, values):
    """The adapter with values that change nothing: for None the norms of the base's weights."""
    changed = {}
    for name, x in stored_tensors(folder, np.float32).items():
        for kind, value in values.items():
            if kind in name and value is not None:
                changed[name] = np.full_like(x, value)
            elif kind in name:
                module = base.model.get_submodule(name.removeprefix(PEFT).partition(".lora_")[0])
                changed[name] = module.weight.detach().norm(dim=1).numpy()
    return edit_tensors(folder, changed)


@pytest.mark.parametrize(
    ("folder", "values"), NO_EFFECT.items(), indirect=["folder"], ids=NO_EFFECT
)
def test_an_adapter_that_changes_nothing_is_said_to(tiny, folder, values, caplog):
    said = []
    with tiny.adapted(folder, notices=said):
        pass
    assert said == []
    idle(folder, tiny, values)
    with tiny.adapted(folder, notices=said) as model:
        found = alone(tiny, model)
    assert said == [f"{folder}: the adapter changes nothing: the base answers"]
    assert largest_difference(found, alone(tiny, tiny.model)) < 1e-4
    with caplog.at_level(logging.WARNING), tiny.adapted(folder):
        pass
    assert said[0] in caplog.text


@pytest.mark.parametrize(
    ("folder", "values"), NO_EFFECT.items(), indirect=["folder"], ids=NO_EFFECT
)
def test_where_one_module_changes_something_nothing_is_said(tiny, folder, values):
    kind = next(iter(values))
    stored = stored_tensors(folder, np.float32)
    last = sorted(name for name in stored if kind in name)[-1]
    idle(folder, tiny, values)
    edit_tensors(folder, {last: stored[last]})
    said = []
    with tiny.adapted(folder, notices=said):
        pass
    assert said == []


@pytest.mark.parametrize("folder", ["lora", "ia3"], indirect=True)
@pytest.mark.parametrize("more", [0, 1e-3])
def test_nor_where_embeddings_saved_whole_do(tiny, folder, more):
    idle(folder, tiny, {"lora_B": 0, "ia3_l": 1})
    rows = tiny.model.get_input_embeddings().weight.detach().numpy()
    edit_tensors(folder, {f"{PEFT}model.embed_tokens.weight": rows + np.float32(more)})
    said = []
    with tiny.adapted(folder, notices=said):
        pass
    assert bool(said) == (more == 0)


TASK = """task: mood_{language}
output_type: multiple_choice
doc_to_text: "{{text}}\\nMood:"
doc_to_choice: [bad, good]
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""


@pytest.mark.parametrize("folder", ["lora", "ia3"], indirect=True)
def test_evaluate_says_so_on_standard_error_and_in_json(
    tiny, tiny_folder, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mood.yaml").write_text(TASK)
    (tmp_path / "test.csv").write_text("text,label\nred,1\nlion,0\n")
    call = ["evaluate", "--model", str(tiny_folder), "--adapter", str(folder), "--json"]
    call += ["--task", "mood.yaml", "--language", "sw", "--data-files", "test=test.csv"]
    assert main([*call, "--output", "one.json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["notices"] == []
    assert "warning" not in err
    idle(folder, tiny, {"lora_B": 0, "ia3_l": 1})
    assert main([*call, "--output", "two.json"]) == 0
    out, err = capsys.readouterr()
    (notice,) = json.loads(out)["notices"]
    assert f"adamergex: warning: {notice}" in err.splitlines()
    assert json.loads((tmp_path / "two.json").read_text())["notices"] == [notice]
    assert main([*call[:4], str(renamed(folder, moved)), *call[5:]]) == 2
    assert "nearest is model.layers.0" in capsys.readouterr().err


EXPERTS = {"w1": (24, 16), "w2": (16, 24), "w3": (24, 16)}
OLD = "base_model.model.model.layers.{}.block_sparse_moe.experts.{}.{}"


def mixtral():
    """Of 2 layers with 2 experts, which transformers 5 has as one tensor."""
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=2,
        num_experts_per_tok=2,
    )
    return MixtralForCausalLM(config).eval().requires_grad_(False)


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match")
@pytest.mark.parametrize("lands", [True, False])
def test_modules_that_transformers_has_renamed_since_land(tmp_path, lands):
    """PEFT knows how: an adapter for each expert of a model of version 4."""
    rng = np.random.default_rng(0)
    tensors = {
        f"{OLD.format(layer, expert, name)}.lora_{part}.weight": rng.normal(size=size).astype("f4")
        for layer in range(2)
        for expert in range(2)
        for name, (out, inner) in EXPERTS.items()
        for part, size in (("A", (2, inner)), ("B", (out, 2)))
    }
    folder = write_adapter(tmp_path, {**LORA, "target_modules": list(EXPERTS)}, tensors)
    base, ids = Backbone(mixtral(), tiny_tokenizer()), torch.tensor([[3, 7, 1, 30]])
    if not lands:
        renamed(folder, lambda name: name.replace("layers.1", "layers.7"))
        assert "layers.7" in refused(base, folder)
        return
    before = state(base)
    with base.adapted(folder) as model, torch.no_grad():
        found = model(ids).logits
    assert_untouched(base, before)
    model = mixtral()
    for layer in range(2):
        experts = model.model.layers[layer].mlp.experts
        for expert in range(2):
            w1, w2, w3 = (
                2
                * torch.tensor(tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"])
                for name in (OLD.format(layer, expert, w) for w in EXPERTS)
            )
            experts.gate_up_proj[expert] += torch.cat([w1, w3])
            experts.down_proj[expert] += w2
    torch.testing.assert_close(found, model(ids).logits)


@pytest.mark.parametrize("folder", ["lora", "dora", "ia3"], indirect=True)
def test_lm_evals_model_refuses_it_too(tiny, folder):
    from adamergex.score.harness import HarnessModel

    renamed(folder, moved)
    before = state(tiny)
    with pytest.raises(InputError, match="nearest"):
        HarnessModel(tiny, peft=str(folder))
    assert_untouched(tiny, before)


def distilled(tiny, start, output):
    """A training on from an adapter, on one item."""
    learnt = TaughtChoices(torch.tensor([[0.25, 0.75]]).log())
    asked = [Item("0", "a", (" b", " c"), None)]
    training = {"learning_rate": 1e-3, "max_steps": 1}
    distil(tiny, asked, learnt, output, start=start, training=training, seed=0)


@pytest.mark.parametrize("folder", ["lora", "dora", "prefix"], indirect=True)
def test_what_distillation_goes_on_from_lands_too(tiny, folder, tmp_path):
    if "prompt_embeddings" in stored_tensors(folder):
        edit_config(folder, num_layers=2)
    else:
        renamed(folder, moved)
    before = state(tiny)
    with pytest.raises(InputError, match=r"nearest|needed \(3, 32\)"):
        distilled(tiny, folder, tmp_path / "out")
    assert_untouched(tiny, before)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["lora", "dora", "ia3"], indirect=True)
def test_distillation_goes_on_from_all_of_an_adapter(tiny, folder, tmp_path):
    """What is missing would begin anew, beside the rest of T."""
    edit_tensors(folder, {n: None for n in stored_tensors(folder) if "layers.1.self_attn" in n})
    before = state(tiny)
    with pytest.raises(InputError, match=r"layers\.1\.self_attn.*no such tensor"):
        distilled(tiny, folder, tmp_path / "out")
    assert_untouched(tiny, before)
