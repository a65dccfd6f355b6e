"""Output layers that do more than multiply: whatever makes logits makes the model's own.

What is compared with is always the model's own forward pass, each row alone and in float32, as in
tests/train/test_loss.py.
"""

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import kl_div
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.models import Head, backbone
from adamergex.score import taught
from adamergex.score.choices import likelihoods
from adamergex.tasks import Item
from adamergex.train import adapter_config, divergence, initialised, train_adapter
from adamergex.train.lessons import lesson
from tests.support.backbones import QUIET_TRAINING, ROWS, completion_logits
from tests.support.families import write_family

pytestmark = QUIET_TRAINING

TOLERANCE = 1e-5
BENT = ("gemma2", "cohere", "cohere2", "granite", "phi")
PAIRED = ("t5", "bart")
ACTIVE = {"type": "lora", "r": 4, "init_lora_weights": False, "target_modules": "all-linear"}
ITEMS = [
    Item("1", "red apple =", (" Food", " Travel and more", " Animals"), 0),
    Item("2", "a lion =", (" Food", " Animals"), 1),
    Item("3", "soccer ball =", (" Activities", " Symbols", " joy"), 0),
]


@pytest.fixture(scope="module", params=BENT)
def bent(request, tmp_path_factory):
    folder = write_family(request.param, tmp_path_factory.mktemp("bent") / request.param)
    return backbone(str(folder))


@pytest.fixture(scope="module", params=PAIRED)
def paired(request, tmp_path_factory):
    folder = write_family(request.param, tmp_path_factory.mktemp("paired") / request.param)
    return backbone(str(folder))


def alone(base, item, choice):
    """The log-likelihood of a choice, and whether it is greedy, by the model's own forward."""
    prompt = base.tokenizer(item.prompt, add_special_tokens=base.family != "decoder").input_ids
    answer = base.tokenizer(choice, add_special_tokens=False).input_ids
    if base.family == "decoder":
        ids = [base.tokenizer.bos_token_id, *prompt, *answer]
        logits = base.model(input_ids=torch.tensor([ids])).logits[0, -len(answer) - 1 : -1]
    else:
        start = base.model.config.decoder_start_token_id
        decoder = torch.tensor([[start, *answer[:-1]]])
        logits = base.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]
    logs = logits.log_softmax(-1)
    found = sum(float(logs[i, token]) for i, token in enumerate(answer))
    return found, logs.argmax(-1).tolist() == answer


def compared(base):
    for item, answers in zip(ITEMS, likelihoods(base, base.model, ITEMS), strict=True):
        for choice, (found, greedy) in zip(item.choices, answers, strict=True):
            with torch.no_grad():
                wanted, best = alone(base, item, choice)
            assert found == pytest.approx(wanted, rel=TOLERANCE)
            assert greedy == best


def test_a_decoder_is_scored_by_its_own_logits(bent):
    head = Head.of(bent.model)
    assert (head.bias is not None) + (head.scale != 1) + (head.cap is not None) == 1
    compared(bent)


def test_an_encoder_decoder_is_scored_by_its_own_logits(paired):
    compared(paired)


@pytest.mark.parametrize("some", [False, True])
def test_training_has_the_loss_and_the_gradient_of_the_model_itself(bent, tmp_path, some):
    """By plain gradient descent one step is the gradient."""
    rows, rate = ROWS[:4], 1.0
    alone = [completion_logits(bent, row) for row in rows]
    vocabulary = sorted({int(x) for _, wanted in alone for x in wanted}) if some else None
    training = {
        "optim": "sgd",
        "learning_rate": rate,
        "max_steps": 1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
    }
    found = train_adapter(
        bent,
        rows,
        tmp_path / "out",
        adapter=ACTIVE,
        training=training,
        seed=1,
        vocabulary=vocabulary,
    )
    plain = AutoModelForCausalLM.from_pretrained(bent.model.name_or_path, dtype=torch.float32)
    torch.manual_seed(1)
    model = get_peft_model(plain.eval(), adapter_config(ACTIVE, bent))
    total, count = torch.zeros(()), 0
    for row, (_, wanted) in zip(rows, alone, strict=True):
        tokens = bent.tokens(row, end=True)
        logits = model(input_ids=torch.tensor([tokens.ids])).logits[0, tokens.prompt_length - 1 :]
        logits, labels = logits[:-1], wanted
        if vocabulary:
            logits = logits[:, vocabulary]
            labels = torch.tensor([vocabulary.index(int(x)) for x in wanted])
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        count += len(wanted)
    (total / count).backward()
    assert found["losses"] == pytest.approx([float(total.detach()) / count], rel=TOLERANCE)
    begun, _ = initialised(bent, ACTIVE, 1)
    start = {name: x.detach().clone() for name, x in begun.named_parameters() if "lora_" in name}
    bent.restored(begun)
    after = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for name, weight in model.named_parameters():
        if "lora_" in name:
            stepped = start[name] - rate * weight.grad
            kept = after[name.replace(".default", "")]
            torch.testing.assert_close(kept, stepped, rtol=1e-4, atol=1e-5)


def test_distillation_sees_the_distributions_of_a_decoder_itself(bent):
    """T's next tokens are its own forward's; how far a student is from them, too."""
    distributions_compared(bent)


def test_distillation_sees_the_distributions_of_an_encoder_decoder_itself(paired):
    distributions_compared(paired)


def lumped(logs, ids):
    """Distributions with all tokens but some brought together: their log-probabilities."""
    others = logs.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([logs.gather(1, ids), others], dim=1)


def distributions_compared(base):
    item, other = (Item("1", text, (), None) for text in ("red apple =", "a lion ="))
    learnt = taught(base, base.model, [item], answers=[" Food"])

    def logs(prompt):
        ids = base.tokenizer(prompt, add_special_tokens=base.family != "decoder").input_ids
        answer = base.tokenizer(" Food", add_special_tokens=False).input_ids
        with torch.no_grad():
            if base.family == "decoder":
                row = torch.tensor([[base.tokenizer.bos_token_id, *ids, *answer]])
                return base.model(input_ids=row).logits[0, -len(answer) - 1 :].log_softmax(-1)
            begin = torch.tensor([[base.model.config.decoder_start_token_id, *answer]])
            found = base.model(input_ids=torch.tensor([ids]), decoder_input_ids=begin)
            return found.logits[0].log_softmax(-1)

    teacher, student = logs(item.prompt), logs(other.prompt)
    torch.testing.assert_close(
        learnt.logs[:, :-1], teacher.gather(1, learnt.ids.long()), rtol=1e-4, atol=1e-4
    )
    rows = lesson(base, [other], learnt, base.positions)
    found = float(rows.divergence(base.model, [0]))
    student, teacher = (lumped(x, learnt.ids.long()) for x in (student, teacher))
    wanted = float(kl_div(student, teacher, log_target=True, reduction="sum"))
    assert found == pytest.approx(wanted, rel=1e-4)
    assert divergence(base, base.model, [item], learnt) == pytest.approx(0, abs=1e-4)


def test_an_output_layer_that_its_config_does_not_tell_of_is_refused(tmp_path, monkeypatch):
    """Scores would be wrong without a word."""
    folder = write_family("granite", tmp_path / "odd")
    monkeypatch.setattr(Head, "of", classmethod(lambda cls, m: cls(m.lm_head.weight)))
    with pytest.raises(InputError, match="odd: output layer: found another one"):
        backbone(str(folder))


def test_a_bias_of_the_output_layer_is_not_trained(tmp_path):
    """PEFT's `bias: all` would: losses here take it as it is."""
    base = backbone(str(write_family("phi", tmp_path / "phi")))
    with pytest.raises(InputError, match="the output layer"):
        initialised(base, {**ACTIVE, "bias": "all"}, 0)
