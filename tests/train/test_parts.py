"""A batch's rows in parts: the gradient and the loss of the whole, by whatever parts it is made."""

import os
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed
from torch.multiprocessing.spawn import start_processes
from transformers import DataCollatorForLanguageModeling

from adamergex.models import backbone
from adamergex.score import TaughtTokens
from adamergex.tasks import Example, Item
from adamergex.train import distil, families, train_adapter, train_sparse, trainer, vocabulary_of
from adamergex.train.parts import in_parts, parted
from adamergex.train.trainer import SummedLoss
from tests.support.backbones import FAMILIES, QUIET_TRAINING, ROWS, STRUCTURES, write_tiny
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING

CLASSES = [Example(row.prompt or "text =", "", i % 2) for i, row in enumerate(ROWS)]
TEXTS = [Example("", row.prompt + row.completion) for row in ROWS]
PAIRS = [Example(row.prompt or "text =", row.completion) for row in ROWS]
ONE_STEP = {"max_steps": 1, "learning_rate": 0.1, "optim": "sgd"}
WAYS = [(8, 1, 10**6), (8, 1, 40), (3, 3, 40)]
"""The size of a batch, how many are accumulated, and how many tokens go through the model at once;
the first is all rows at once. In the last, batches of 3, 3 and 2 rows have unlike labels."""


def padded(part):
    return len(part) * max(part)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=7),
    st.sampled_from([sum, padded]),
    st.integers(1, 40),
)
def test_parts_are_as_few_and_as_even_as_can_be(sizes, cost, most):
    """Against every way to cut the rows, sorted by length, that keeps to the limit."""
    found = parted(sizes, cost, most)
    rows = sorted(sizes, reverse=True)
    assert [size for part in found for size in part] == rows
    ways = []
    for cuts in product((False, True), repeat=len(rows) - 1):
        ends = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(rows)]
        parts = [rows[start:end] for start, end in pairwise(ends)]
        if all(len(part) == 1 or cost(part) <= most for part in parts):
            ways.append((len(parts), max(map(cost, parts))))
    assert (len(found), max(map(cost, found))) == min(ways)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 60), st.integers(1, 4))
def test_each_row_is_one_process_s_and_all_have_as_many_parts(sizes, most, count):
    def collate(rows):
        return {"rows": rows, "labels": torch.tensor(rows)}

    shares = [in_parts(collate, sum, most, index, count)(sizes) for index in range(count)]
    assert len({len(parts) for parts in shares}) == 1
    counted = [
        row
        for parts in shares
        for part in parts
        for row, label in zip(part["rows"], part["labels"].tolist(), strict=True)
        if label != -100
    ]
    assert sorted(counted) == sorted(sizes)
    one = max(sizes)
    assert all(sum(part["rows"]) <= max(most, one) + one for parts in shares for part in parts)


def quiet(base):
    """Without dropout, whose numbers are drawn anew for each part."""
    for module in base.model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return base


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = {kind: str(write_tiny(kind, tmp_path_factory.mktemp(kind))) for kind in FAMILIES}
    found = {kind: quiet(backbone(name)) for kind, name in made.items()}
    return found | {"classifier": quiet(backbone(made["xlm-roberta"], 2))}


def trained(kind, rows, structure="lora", restricted=False):
    def train(bases, out, training):
        base = bases[kind]
        options = {"vocabulary": vocabulary_of(base, rows) if restricted else None, "seed": 1}
        return train_adapter(
            base, rows, out, adapter=ACTIVE[structure], training=training, **options
        )

    return train


def distilled(bases, out, training):
    base = bases["gemma3"]
    start = out.with_name("start")
    rows = {"rows": ROWS, "seed": 0, "training": {"max_steps": 1}}
    train_adapter(base, output=start, adapter=ACTIVE["lora"], **rows)
    items = [Item(str(i), row.prompt or "text =", (), None) for i, row in enumerate(ROWS)]
    random = torch.manual_seed(2)
    # One distribution a row, over four tokens and all others together.
    ids = torch.randint(0, 100, (len(ROWS), 4), generator=random)
    logs = torch.randn(len(ROWS), 5, generator=random).log_softmax(-1)
    taught = TaughtTokens(torch.ones(len(ROWS), dtype=torch.long), ids[:0, 0], ids, logs)
    return distil(base, items, taught, out, start=start, training=training, seed=1)


def sparse(bases, out, training):
    return train_sparse(bases["llama"], ROWS, out, density=1.0, training=training, seed=1)


# Not a no-op at the start: else half of LoRA's gradient is 0.
ACTIVE = {**STRUCTURES, "lora": {**STRUCTURES["lora"], "init_lora_weights": False}}
TRAININGS = {
    "lora": trained("gemma3", ROWS),
    "in use": trained("qwen3", ROWS, restricted=True),
    "ia3": trained("gemma3", ROWS, "ia3"),
    "prefix": trained("gemma3", ROWS, "prefix"),
    "distillation": distilled,
    "sparse": sparse,
    "encoder-decoder": trained("t5", PAIRS),
    "classes": trained("classifier", CLASSES),
    "masked tokens": trained("xlm-roberta", TEXTS),
}


@pytest.fixture
def all_masked(monkeypatch):
    """Each token masked, instead of some at random, drawn anew for each part."""
    always = {"mlm_probability": 1.0, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    collator = partial(DataCollatorForLanguageModeling, **always)
    monkeypatch.setattr(families, "DataCollatorForLanguageModeling", collator)


@pytest.fixture
def gradients(monkeypatch):
    """The gradient of each weight, before it is clipped, and how many passes it was made by."""
    seen = {}
    step, loss = SummedLoss.training_step, SummedLoss.compute_loss

    def watched(self, model, *args):
        found = step(self, model, *args)
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                seen[name] = weight.grad.clone()
        return found

    def counted(self, *args, **kwargs):
        seen["passes"] = seen.get("passes", 0) + 1
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(SummedLoss, "training_step", watched)
    monkeypatch.setattr(SummedLoss, "compute_loss", counted)
    return seen


@pytest.mark.usefixtures("all_masked")
@pytest.mark.parametrize("name", TRAININGS)
def test_the_gradient_is_that_of_the_whole_batch(bases, gradients, tmp_path, monkeypatch, name):
    results = []
    for size, accumulated, most in WAYS:
        monkeypatch.setattr(trainer, "_TOKENS", most)
        batch = {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulated,
        }
        gradients.clear()
        losses = TRAININGS[name](bases, tmp_path / f"{size}-{most}", {**ONE_STEP, **batch})[
            "losses"
        ]
        passes = gradients.pop("passes")
        results.append((passes, losses, dict(gradients)))
    passes, (loss,), whole = results[0]
    assert all(found > passes for found, _, _ in results[1:])
    scale = max(float(value.abs().max()) for value in whole.values())
    assert scale > 1e-4
    for _, losses, found in results[1:]:
        assert losses == pytest.approx([loss], rel=1e-5)
        assert found.keys() == whole.keys()
        for key, value in whole.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5 * scale, msg=key)


def test_a_part_in_which_no_token_is_masked(bases, tmp_path, monkeypatch):
    """There is no mean over no labels, and one NaN would make all weights NaN."""
    never = partial(DataCollatorForLanguageModeling, mlm_probability=0.0)
    monkeypatch.setattr(families, "DataCollatorForLanguageModeling", never)
    found = trained("xlm-roberta", TEXTS)(bases, tmp_path / "out", ONE_STEP)
    assert found["losses"] == [0.0]
    assert all(
        torch.isfinite(torch.from_numpy(x)).all() for x in stored_tensors(tmp_path / "out").values()
    )


def member(rank, name, folder, count, most):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(30_100 + os.getppid() % 500)}
    trainer._TOKENS = most
    training = {**ONE_STEP, "max_steps": 3, "per_device_train_batch_size": 7}
    options = {"adapter": ACTIVE["lora"], "training": training, "seed": 1}
    losses = train_adapter(backbone(name), ROWS, folder / "shared", **options)["losses"]
    torch.save(losses, folder / str(rank))
    distributed.destroy_process_group()


def test_processes_share_each_part(bases, tiny_folder, tmp_path):
    start_processes(member, (str(tiny_folder), tmp_path, 2, 20), nprocs=2, start_method="fork")
    training = {**ONE_STEP, "max_steps": 3, "per_device_train_batch_size": 7}
    wanted = trained("gemma3", ROWS)(bases, tmp_path / "alone", training)["losses"]
    for rank in range(2):
        assert torch.load(tmp_path / str(rank)) == pytest.approx(wanted, rel=1e-5)
    shared, alone = (stored_tensors(tmp_path / name) for name in ("shared", "alone"))
    for key, value in alone.items():
        assert abs(shared[key] - value).max() < 1e-5 * max(1, abs(value).max())
