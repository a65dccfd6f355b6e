"""Bases in bfloat16 and quantised: scored and trained as PEFT has them, never changed, held once.

Weights of 4 and 8 bits need bitsandbytes, from the extra `quantization`; it runs on a processor.
Sums in bfloat16 are rounded at 0.4 %: what is compared there is compared with room for that.
"""

from importlib.util import find_spec

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from adamergex.errors import InputError
from adamergex.models import backbone, loading
from adamergex.recipe import PlacedModelKwargs
from adamergex.score.choices import likelihoods
from adamergex.tasks import Item
from adamergex.train import train_adapter, train_sparse
from tests.support.backbones import QUIET_TRAINING, ROWS
from tests.support.families import write_family
from tests.support.models import randomised

pytestmark = QUIET_TRAINING

QUANTISED = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs bitsandbytes: the extra `quantization`"
)
HOW = [
    pytest.param({"dtype": "bfloat16"}, id="bfloat16"),
    pytest.param({"quantization": "nf4"}, id="nf4", marks=QUANTISED),
    pytest.param({"quantization": "int8", "dtype": "bfloat16"}, id="int8", marks=QUANTISED),
]
LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
ITEMS = [Item(str(i), row.prompt, (" Food", " Animals"), 0) for i, row in enumerate(ROWS[:3])]


def plainly(folder, how):
    """The model as transformers itself loads it."""
    options = {"dtype": getattr(torch, how.get("dtype", "float32"))}
    if "quantization" in how:
        eight = how["quantization"] == "int8"
        four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": options["dtype"]}
        config = BitsAndBytesConfig(load_in_8bit=eight, load_in_4bit=not eight, **four)
        options |= {"quantization_config": config, "device_map": {"": "cpu"}}
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As wide as bitsandbytes needs it."""
    return write_family("llama-64", tmp_path_factory.mktemp("wide") / "llama")


@pytest.fixture(scope="module", params=HOW)
def loaded(request, folder):
    base = backbone(str(folder), None, request.param)
    yield base, request.param
    loading.unload()


@pytest.fixture
def adapter(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    randomised(peft.get_peft_model(model, config), 1).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def said(base):
    """What it answers: bitsandbytes keeps the same weights in one order or another."""
    with torch.no_grad():
        return base.model(input_ids=torch.arange(3, 20)[None]).logits.float()


def assert_as_it_was(base, before):
    torch.testing.assert_close(said(base), before, rtol=1e-5, atol=1e-5)
    assert not any("peft" in type(m).__module__ for m in base.model.modules())
    assert not any(p.requires_grad for p in base.model.parameters())


def test_adapters_stand_beside_the_weights_as_in_peft(loaded, folder, adapter):
    base, how = loaded
    before = said(base)
    # Nothing is dropped; as it does in training, bitsandbytes then multiplies in `dtype`.
    plain = peft.PeftModel.from_pretrained(plainly(folder, how), adapter).train()
    with base.adapted(adapter) as model:
        assert model is not base.model  # nothing was added to a weight
        found = likelihoods(base, model, ITEMS)
    assert_as_it_was(base, before)
    bare = likelihoods(base, base.model, ITEMS)
    tok = base.tokenizer
    for item, answers, without in zip(ITEMS, found, bare, strict=True):
        for choice, (log, _), (own, _) in zip(item.choices, answers, without, strict=True):
            prompt = tok(item.prompt, add_special_tokens=False).input_ids
            answer = tok(choice, add_special_tokens=False).input_ids
            ids = torch.tensor([[tok.bos_token_id, *prompt, *answer]])
            with torch.no_grad():
                logits = plain(input_ids=ids).logits[0, -len(answer) - 1 : -1].float()
            logs = logits.log_softmax(-1)
            wanted = float(logs.gather(1, torch.tensor(answer)[:, None]).sum())
            exact = how == {"quantization": "nf4"}
            assert log == pytest.approx(wanted, rel=1e-4 if exact else 0.02)
            assert abs(log - wanted) < 0.5 * abs(log - own)


def test_a_base_is_held_as_it_was_asked_for(loaded, folder):
    base, how = loaded
    weights = {p.dtype for p in base.model.parameters()}
    assert torch.float32 not in weights or how == {"quantization": "nf4"}
    usual = backbone(str(folder))
    assert base.model.get_memory_footprint() < 0.75 * usual.model.get_memory_footprint()
    assert base is backbone(base.model.name_or_path, None, how)
    assert base is not usual


def test_training_learns_and_changes_no_weight(loaded, tmp_path):
    base, _ = loaded
    before = said(base)
    training = {"learning_rate": 1e-2, "max_steps": 12, "lr_scheduler_type": "constant"}
    found = train_adapter(base, ROWS[:4], tmp_path / "out", adapter=LORA, training=training, seed=0)
    assert_as_it_was(base, before)
    assert found["losses"][-1] < 0.7 * found["losses"][0]
    kept = peft.load_peft_weights(str(tmp_path / "out"), device="cpu")
    assert {value.dtype for value in kept.values()} == {torch.float32}
    logs = [answers for answers, _ in (row[0] for row in likelihoods(base, base.model, ITEMS))]
    with base.adapted(tmp_path / "out") as model:
        after = [row[0][0] for row in likelihoods(base, model, ITEMS)]
    assert after[0] > logs[0]


def test_what_changes_weights_is_refused(loaded, adapter, tmp_path):
    base, _ = loaded
    with pytest.raises(InputError, match="needed LoRA and a base in float32"), base.upon(adapter):
        pass
    with pytest.raises(InputError, match="model_kwargs: found"):
        train_sparse(base, ROWS, tmp_path / "out", density=0.1, training={}, seed=0)


def test_without_bitsandbytes_it_is_said_what_to_install(tiny_folder, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'adamergex\[quantization\]'"):
        loading.own_backbone(str(tiny_folder), how=PlacedModelKwargs(quantization="nf4"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtyp": "bfloat16"}, r"dtyp: found a key that there is not; needed dtype\?"),
        ({"dtype": "int4"}, "dtype: found int4; needed 'float32', 'bfloat16' or 'float16'"),
        ({"device_map": "auto"}, "device_map: found auto"),
        ({"trust_remote_code": True}, "trust_remote_code: found a key that there is not"),
    ],
)
def test_what_is_not_on_the_list_is_refused(tiny_folder, given, said):
    with pytest.raises(InputError, match=said):
        backbone(str(tiny_folder), None, given)
