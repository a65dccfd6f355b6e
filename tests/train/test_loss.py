"""What is trained on: the loss of each step, against each row run alone through the whole model.

The trainer packs rows into one sequence and may cut the softmax; the comparison does neither. Both
compute in float32, where sums of a few hundred terms of size 1 to 10 agree to about 1e-6 of their
size: TOLERANCE leaves a factor of ten.
"""

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from adamergex.errors import InputError
from adamergex.tasks import Example
from adamergex.train import adapter_config, families, train_adapter, vocabulary_of
from tests.support.backbones import (
    QUIET_TRAINING,
    ROWS,
    STRUCTURES,
    completion_logits,
    ids_of,
)
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING

TOLERANCE = 1e-5
# Not a no-op at the start, so that the first loss is that of an adapted model.
ACTIVE = {**STRUCTURES["lora"], "init_lora_weights": False}


def trained(tiny, output, rows=ROWS, **options):
    training = {
        "learning_rate": 1e-2,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "lr_scheduler_type": "constant",
        **options.pop("training", {}),
    }
    options = {"adapter": ACTIVE, "seed": 0, **options}
    return train_adapter(tiny, rows, output, training=training, **options)


def mean_loss(tiny, model, rows=ROWS, vocabulary=None):
    """Mean cross-entropy of the tokens of the completions, among the tokens of `vocabulary`."""
    losses = []
    for row in rows:
        logits, wanted = completion_logits(tiny, row, model=model)
        if vocabulary is not None:
            outside = torch.ones(logits.shape[-1], dtype=torch.bool)
            outside[vocabulary] = False
            logits = logits.masked_fill(outside, -torch.inf)
        losses += (-logits.log_softmax(-1)[range(len(wanted)), wanted]).tolist()
    return sum(losses) / len(losses)


@pytest.fixture
def fresh(tiny_folder):
    """The backbone loaded once more, to put adapters on without the code under test."""
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()


@pytest.fixture
def vocabulary(tiny):
    return vocabulary_of(tiny, ROWS)


def test_the_vocabulary_is_what_completions_use(tiny, vocabulary):
    used = {token for row in ROWS for token in ids_of(tiny, row)[0][ids_of(tiny, row)[1] :]}
    assert vocabulary == sorted(used)
    assert tiny.tokenizer.eos_token_id in vocabulary
    assert len(vocabulary) < tiny.model.config.vocab_size / 4


@pytest.mark.parametrize("restricted", [False, True])
def test_the_first_loss_is_that_of_rows_run_alone(tiny, fresh, vocabulary, tmp_path, restricted):
    subset = vocabulary if restricted else None
    found = trained(tiny, tmp_path / "out", seed=3, vocabulary=subset)["losses"]
    torch.manual_seed(3)
    adapted = get_peft_model(fresh, adapter_config(ACTIVE, tiny)).eval()
    assert found == pytest.approx([mean_loss(tiny, adapted, vocabulary=subset)], rel=TOLERANCE)
    with adapted.disable_adapter():
        assert found[0] != pytest.approx(mean_loss(tiny, adapted, vocabulary=subset), rel=1e-2)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("restricted", [False, True])
def test_the_second_loss_is_that_of_the_adapter_saved_after_one_step(
    tiny, fresh, vocabulary, tmp_path, structure, restricted
):
    """So the adapter was trained, and what was saved is what was trained."""
    options = {
        "adapter": STRUCTURES[structure],
        "vocabulary": vocabulary if restricted else None,
    }
    trained(tiny, tmp_path / "one", training={"max_steps": 1}, **options)
    losses = trained(tiny, tmp_path / "two", training={"max_steps": 2}, **options)["losses"]
    model = PeftModel.from_pretrained(fresh, tmp_path / "one").eval()
    wanted = mean_loss(tiny, model, vocabulary=options["vocabulary"])
    assert losses[1] == pytest.approx(wanted, rel=TOLERANCE)
    assert losses[1] < losses[0] - 1e-3


def test_a_vocabulary_of_all_tokens_is_the_loss_of_trl(tiny, tmp_path):
    everything = list(range(tiny.model.config.vocab_size))
    ours, theirs = (
        trained(tiny, tmp_path / name, vocabulary=subset, training={"max_steps": 4})
        for name, subset in (("ours", everything), ("theirs", None))
    )
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=TOLERANCE)
    assert len(ours["losses"]) == 4


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("restricted", [False, True])
def test_one_batch_of_eight_is_eight_batches_of_one(
    tiny, vocabulary, tmp_path, structure, restricted
):
    """Packing changes nothing: no row sees another, and every token has the same weight.

    By plain gradient descent: Adam blows rounding up wherever a gradient is nearly 0.
    """
    options = {
        "rows": ROWS * 3,
        "adapter": STRUCTURES[structure],
        "vocabulary": vocabulary if restricted else None,
    }
    runs = [
        trained(
            tiny,
            tmp_path / str(size),
            training={
                "per_device_train_batch_size": size,
                "gradient_accumulation_steps": 8 // size,
                "optim": "sgd",
                "learning_rate": 0.1,
            },
            **options,
        )
        for size in (8, 1)
    ]
    assert [run["steps"] for run in runs] == [3, 3]
    assert runs[0]["losses"] == pytest.approx(runs[1]["losses"], rel=TOLERANCE)
    one, other = (stored_tensors(tmp_path / str(size)) for size in (8, 1))
    for name, value in one.items():
        assert abs(value - other[name]).max() < 1e-5 * max(1, abs(value).max())


def test_prompts_are_not_trained_and_the_end_token_is(tiny, tmp_path, monkeypatch):
    seen = []

    class Spy(families.AdapterTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.append({name: inputs[name].clone() for name in ("input_ids", "labels")})
            return super().compute_loss(model, inputs, *args, **kwargs)

    monkeypatch.setattr(families, "AdapterTrainer", Spy)
    rows = ROWS[:1]
    trained(tiny, tmp_path / "out", rows=rows)
    ids, start = ids_of(tiny, rows[0])
    (batch,) = seen
    assert batch["input_ids"].tolist() == [ids]
    assert batch["labels"].tolist() == [[-100] * start + ids[start:]]
    assert ids[-1] == tiny.tokenizer.eos_token_id != tiny.tokenizer.pad_token_id


def test_a_model_learns_to_answer_and_to_stop(tiny, fresh, tmp_path, vocabulary):
    row = Example("red apple =", " Food")
    training = {"max_steps": 30, "learning_rate": 0.03}
    trained(tiny, tmp_path / "out", rows=[row] * 8, training=training, vocabulary=vocabulary)
    model = PeftModel.from_pretrained(fresh, tmp_path / "out").eval()
    ids, start = ids_of(tiny, row)
    with torch.no_grad():
        for place in range(start, len(ids)):
            logits = model(input_ids=torch.tensor([ids[:place]])).logits[0, -1, vocabulary]
            assert vocabulary[int(logits.argmax())] == ids[place]


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: v[::-1]])
def test_a_vocabulary_that_does_not_serve_is_refused(tiny, vocabulary, tmp_path, change):
    """A label outside it, or in another order, would silently be trained as another token."""
    with pytest.raises(InputError, match="vocabulary"):
        trained(tiny, tmp_path / "out", vocabulary=change(vocabulary))
    assert not (tmp_path / "out").exists()
