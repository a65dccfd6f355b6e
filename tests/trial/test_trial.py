"""What `adamergex try` computes, against plain PEFT with the adapters' own scales; no Gradio."""

import json
import sys

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from adamergex.cli import main
from adamergex.errors import InputError
from adamergex.export import export_split
from adamergex.models import backbone
from adamergex.tasks import Example
from adamergex.trial import Entry, entries
from adamergex.trial.answers import answers, ready
from tests.support.backbones import assert_untouched, ids_of, state, write_tiny
from tests.support.folders import edit_config, write_ia3
from tests.support.models import QUIET, randomised

pytestmark = QUIET

PROMPT = "red apple ="
CHOICES = (" Food", " Emotion and joy", " Travel")
T, RT, RS = "task", "target", "source"


@pytest.fixture(scope="module")
def folders(tiny_folder, tmp_path_factory):
    """T, Rt and Rs, made by PEFT."""
    place = tmp_path_factory.mktemp("three")
    for seed, (name, r) in enumerate({T: 2, RT: 3, RS: 2}.items()):
        config = peft.LoraConfig(
            r=r, lora_alpha=5, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config)
        randomised(model, seed).save_pretrained(place / name)
    return tuple(place / name for name in (T, RT, RS))


def in_peft(base, folders, scales):
    """PEFT's own model with these adapters on at once, each at its scale."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(model, folders[0], adapter_name="0")
    for i, folder in enumerate(folders[1:], 1):
        model.load_adapter(folder, adapter_name=str(i))
    model.base_model.set_adapter([str(i) for i in range(len(folders))])
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            for i, scale in enumerate(scales):
                module.set_scale(str(i), scale)
    return model.eval()


@torch.no_grad()
def wanted(model, base):
    """The chances of the next tokens, and of CHOICES beside each other, each row run alone."""
    ids, _ = ids_of(base, Example(PROMPT, ""), end=False)
    following = model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(0)
    logs = []
    for choice in CHOICES:
        ids, start = ids_of(base, Example(PROMPT, choice), end=False)
        rows = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        logs.append(sum(rows[i - 1, ids[i]] for i in range(start, len(ids))))
    return following, torch.stack(logs).softmax(0)


def assert_same(said, model, base):
    """Of the model's two answers, without choices and with them."""
    following, among = wanted(model, base)
    free, chosen = said
    best = following.topk(len(free.chances)).values.tolist()
    assert list(free.chances.values()) == pytest.approx(best, rel=1e-4)
    likeliest = base.tokenizer.decode([int(following.argmax())])
    assert next(iter(free.chances)).startswith(json.dumps(likeliest, ensure_ascii=False))
    found = [chosen.chances[choice] for choice in CHOICES]
    assert found == pytest.approx(among.tolist(), rel=1e-4)


def all_answers(entry, t):
    free, chosen = (answers(entry, f"{PROMPT} ", choices, t) for choices in ((), CHOICES))
    assert free.keys() == chosen.keys()
    assert all(x.text is None for x in chosen.values())
    return {name: (free[name], chosen[name]) for name in free}


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["three", "split", "one"])
def test_each_t_is_what_peft_computes(tiny_folder, folders, tmp_path, kind, t):
    name, base = str(tiny_folder), backbone(str(tiny_folder))
    before = state(base)
    if kind == "three":
        entry, scales = Entry("three", name, folders), (1, t, -t)
    elif kind == "split":
        export_split(*map(str, folders), tmp_path / "split")
        (entry,) = entries(str(tmp_path / "split"), name)
        scales = (1, t, -t)
    else:
        (entry,) = entries(str(folders[0]))
        assert entry.model == name
        scales = (t, 0, 0)
    said = all_answers(entry, t)
    assert_same(said["merged"], in_peft(tiny_folder, folders, scales), base)
    assert ("task" in said) == (kind != "one")
    if t == 0.5:
        assert_same(said["base"], in_peft(tiny_folder, folders, (0, 0, 0)), base)
    if "task" in said and t == 0.5:
        assert_same(said["task"], in_peft(tiny_folder, folders, (1, 0, 0)), base)
    assert_untouched(base, before)


@torch.no_grad()
def test_what_it_writes_is_what_peft_generates(tiny_folder, folders):
    base = backbone(str(tiny_folder))
    said = answers(Entry("three", str(tiny_folder), folders), PROMPT, (), 0.5)["merged"].text
    ids, start = ids_of(base, Example(PROMPT, ""), end=False)
    model = in_peft(tiny_folder, folders, (1, 0.5, -0.5))
    for _ in range(20):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    text = base.tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert said
    assert text.partition("\n")[0].startswith(said.rstrip())


def test_an_adapter_of_another_structure_is_tried_as_it_is(tiny_folder, folders, tmp_path):
    made = peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), made)
    randomised(model, 3).save_pretrained(tmp_path)
    (entry,) = entries(str(tmp_path))
    said = answers(entry, PROMPT, CHOICES, 1.0)["merged"]
    _, among = wanted(model.eval(), backbone(str(tiny_folder)))
    assert [said.chances[x] for x in CHOICES] == pytest.approx(among.tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("prompt", "choices", "says"),
    [
        (" \n", (), "prompt: found nothing; needed text"),
        ("a", (" b",), "choices: found"),
        ("a", (" b", " b"), "choices: found"),
    ],
)
def test_questions_without_sense_are_refused(tiny_folder, folders, prompt, choices, says):
    with pytest.raises(InputError, match=says):
        answers(Entry("one", str(tiny_folder), folders[:1]), prompt, choices, 1.0)


def test_folders_that_are_none_of_these_are_refused(tmp_path, folders):
    with pytest.raises(InputError, match="no such folder"):
        entries(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="--model NAME"):
        entries(str(edit_config(write_ia3(tmp_path / "ia3"), base_model_name_or_path=None)))
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="adapters: found none; needed a run"):
        entries(str(tmp_path))
    way = {"name": "", "scale": 1, "options": {}, "inputs": {}}
    way["inputs"] = dict.fromkeys(("task", "reference_target", "reference_source"), "../x")
    (tmp_path / "x" / "adapter").mkdir(parents=True)
    (tmp_path / "steps").mkdir()
    text = json.dumps({"adapters": {"a": {"test": "x", "merges": [way]}}})
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="found no such step; needed a finished step: --store"):
        entries(str(tmp_path))


def test_a_model_that_does_not_write_is_refused(tmp_path, folders):
    model = str(write_tiny("xlm-roberta", tmp_path))
    with pytest.raises(InputError, match="found an encoder; needed a model that writes"):
        ready(Entry("one", model, folders[:1]))


def test_without_gradio_one_line_says_what_to_install(monkeypatch, folders, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "adamergex.trial.page", raising=False)
    assert main(["try", str(folders[0])]) == 1
    line = "adamergex: error: gradio is not installed: pip install 'adamergex[try]'\n"
    assert capsys.readouterr().err == line
