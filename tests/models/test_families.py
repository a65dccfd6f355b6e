"""Every family that docs/models.md names: trained, merged, scored and distilled.

What is compared with is plain PEFT on the model as transformers loads it, each row alone.
"""

import peft
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from adamergex.errors import InputError
from adamergex.merging import merge
from adamergex.models import loading, own_backbone
from adamergex.score import taught
from adamergex.score.choices import likelihoods
from adamergex.tasks import Example, Item
from adamergex.train import distil, initialised, train_adapter
from tests.support.backbones import QUIET_TRAINING, ROWS, assert_untouched, state
from tests.support.families import KINDS, write_family

pytestmark = QUIET_TRAINING

QUICK = ("gemma3-wrapper", "modernbert")
LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
ATTENTION = {**LORA, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
LOADED = {
    "decoder": AutoModelForCausalLM,
    "encoder-decoder": AutoModelForSeq2SeqLM,
    "encoder": AutoModelForSequenceClassification,
}
CHOICES = (" Food", " Animals and plants", " Travel")
ITEMS = [Item(str(i), row.prompt, CHOICES, i % 3) for i, row in enumerate(ROWS[:4])]
OTHERS = [Item(item.id, f"{item.prompt} a face", CHOICES, None) for item in ITEMS]
TRAINING = {"learning_rate": 1e-2, "lr_scheduler_type": "constant", "max_steps": 3}


def rows(kind, places):
    if kind == "encoder":
        return [Example(ITEMS[i].prompt, "", label=i % 3) for i in places]
    return [Example(ITEMS[i].prompt, CHOICES[i % 3]) for i in places]


@torch.no_grad()
def plain_scores(base, model, item):
    """Log-likelihoods of an item's choices, each alone through the whole model."""
    tok = base.tokenizer
    if base.family == "encoder":
        ids = torch.tensor([tok(item.prompt).input_ids])
        return model(input_ids=ids).logits[0].log_softmax(-1).tolist()
    prompt = tok(item.prompt, add_special_tokens=base.family != "decoder").input_ids
    found = []
    for choice in item.choices:
        answer = tok(choice, add_special_tokens=False).input_ids
        if base.family == "decoder":
            ids = torch.tensor([[tok.bos_token_id, *prompt, *answer]])
            logits = model(input_ids=ids).logits[0, -len(answer) - 1 : -1]
        else:
            start = [base.model.config.decoder_start_token_id, *answer[:-1]]
            inputs = {"decoder_input_ids": torch.tensor([start])}
            logits = model(input_ids=torch.tensor([prompt]), **inputs).logits[0]
        logs = logits.log_softmax(-1)
        found.append(float(logs.gather(1, torch.tensor(answer)[:, None]).sum()))
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow, id=n) for n in KINDS],
)
def test_a_family_is_trained_merged_scored_and_distilled(name, tmp_path):
    folder = write_family(name, tmp_path / name)
    kind = KINDS[name]
    labels = 3 if kind == "encoder" else None
    base = own_backbone(str(folder), labels)
    loading.backbone_family.cache_clear()
    before, adapter = state(base), ATTENTION if "moe" in name else LORA
    records = {
        role: train_adapter(
            base, rows(kind, places), tmp_path / role, adapter=adapter, training=TRAINING, seed=0
        )
        for role, places in (("task", (0, 1, 2)), ("target", (1, 3)), ("source", (0, 2)))
    }
    assert all(r["losses"][-1] < r["losses"][0] for r in records.values())
    made = merge(
        task=tmp_path / "task",
        reference_target=tmp_path / "target",
        reference_source=tmp_path / "source",
        scale=0.5,
    )
    made.save(tmp_path / "merged")
    torch.manual_seed(0)
    options = {} if labels is None else {"num_labels": labels}
    plain = LOADED[kind].from_pretrained(folder, dtype=torch.float32, **options)
    if kind == "encoder":  # a head of its own, drawn at random
        plain.load_state_dict(base.model.state_dict())
    plain = peft.PeftModel.from_pretrained(plain, tmp_path / "merged").eval()
    with base.adapted(tmp_path / "merged") as model:
        found = likelihoods(base, model, ITEMS)
    bare = likelihoods(base, base.model, ITEMS)
    for item, answers, own in zip(ITEMS, found, bare, strict=True):
        logs = [log for log, _ in answers]
        assert logs == pytest.approx(plain_scores(base, plain, item), rel=2e-4, abs=2e-5)
        assert logs != pytest.approx([log for log, _ in own], rel=1e-3)
    with base.adapted(tmp_path / "task") as model:
        learnt = taught(base, model, ITEMS)
    record = distil(
        base,
        OTHERS,
        learnt,
        tmp_path / "distilled",
        start=tmp_path / "task",
        training={**TRAINING, "learning_rate": 1e-3, "max_steps": 6},
        seed=0,
    )
    assert record["losses"][-1] < record["losses"][0]
    assert_untouched(base, before)


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match")
def test_experts_that_are_one_tensor_are_refused_before_training(tmp_path):
    """PEFT turns their names into `target_parameters`, which no merge could read afterwards."""
    base = own_backbone(str(write_family("qwen3-moe", tmp_path / "moe")))
    before = state(base)
    with pytest.raises(InputError, match="adapter: target_parameters: found down_proj"):
        initialised(base, LORA, 0)
    assert_untouched(base, before)
