"""T taught to answer target prompts as it answers source prompts."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import kl_div

from adamergex.errors import InputError
from adamergex.models import backbone
from adamergex.score import TaughtChoices, TaughtTokens, read_taught, taught, write_taught
from adamergex.score.teaching import LIKELIEST
from adamergex.tasks import Example, Item
from adamergex.train import distil, train_adapter
from adamergex.train import divergence as divergence_from
from adamergex.train.checkpoints import EVERY, CheckpointWriter
from adamergex.train.structures import untrained
from tests.support.backbones import (
    FAMILIES,
    QUIET_TRAINING,
    STRUCTURES,
    assert_untouched,
    completion_logits,
    state,
    write_tiny,
)
from tests.support.folders import snapshot, stored_tensors

pytestmark = QUIET_TRAINING

SOURCE = ["red apple =", "train =", "a lion =", "soccer ball =", "chequered flag ="]
TARGET = ["kırmızı elma =", "tren =", "aslan =", "futbol topu =", "damalı bayrak ="]
LETTERS = (" and", " of", " with", " in", " the")
"""Choices of one token each, for the tiny tokenizer."""
LABELS = (" Food", " Travel", " Animals", " Activities", " Symbols of it")
"""Choices of one token and of several."""
ANSWERS = [" an apple", " a train", " a lion of the race", "", " the flag"]
TRAINING = {"learning_rate": 1e-2, "max_steps": 20, "per_device_train_batch_size": 3}
WHOLE = {**TRAINING, "per_device_train_batch_size": 5, "max_steps": 1}


def items(prompts, choices=(), weights=()):
    return [Item(str(i), p, tuple(choices), None, weights=weights) for i, p in enumerate(prompts)]


@pytest.fixture(scope="module")
def teachers(tiny, tmp_path_factory):
    """T of each structure."""
    folder = tmp_path_factory.mktemp("T")
    rows = [Example(*row) for row in zip(SOURCE, LABELS, strict=True)]
    for name, adapter in STRUCTURES.items():
        train_adapter(tiny, rows, folder / name, adapter=adapter, training=TRAINING, seed=0)
    return {name: folder / name for name in STRUCTURES}


@pytest.fixture(params=STRUCTURES)
def teacher(request, teachers):
    """T, of each structure."""
    return teachers[request.param]


@pytest.fixture
def lora(teachers):
    """T, of one structure."""
    return teachers["lora"]


def learnt(tiny, adapter, asked, **options):
    with tiny.adapted(adapter) as model:
        return taught(tiny, model, asked, **options)


def one_by_one(tiny, adapter, prompts, answers=None):
    """The log-probabilities before each token of answers and behind them, unbatched."""
    found = []
    with tiny.adapted(adapter) as model:
        for prompt, answer in zip(prompts, answers or [""] * len(prompts), strict=True):
            logits, _ = completion_logits(tiny, Example(prompt, answer), model=model)
            found.append(logits.log_softmax(-1))
    return found


def divergence(found, wanted):
    return float(kl_div(found, wanted, log_target=True, reduction="sum"))


def lumped(logs):
    """Places in which all tokens but a teacher's likeliest are one."""
    return lambda ids: torch.cat(
        [logs.gather(1, ids), logs.exp().scatter(1, ids, 0).sum(-1, keepdim=True).log()], dim=1
    )


def first_loss(found, wanted, count):
    """By hand: over the likeliest tokens of the teacher and all others as one."""
    total = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        ids = theirs.topk(LIKELIEST).indices
        total += divergence(lumped(ours)(ids), lumped(theirs)(ids))
    return total / count


def test_the_distributions_are_those_of_the_model(tiny, teacher):
    made = learnt(tiny, teacher, items(SOURCE), answers=ANSWERS)
    assert isinstance(made, TaughtTokens)
    wanted = torch.cat(one_by_one(tiny, teacher, SOURCE, ANSWERS)).float()
    assert made.lengths.tolist() == [
        len(tiny.tokenizer(answer).input_ids) + 1 for answer in ANSWERS
    ]
    best = wanted.topk(LIKELIEST).values
    torch.testing.assert_close(made.logs[:, :-1], best, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(wanted.gather(1, made.ids.long()), best, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.logs.exp().sum(-1), torch.ones(len(wanted)))


def test_a_place_costs_less_than_a_kilobyte(tiny, lora, tmp_path):
    made = learnt(tiny, lora, items(SOURCE), answers=[50 * " apple"] * 5)
    places = len(made.ids)
    assert places > 200
    assert write_taught(made, range(5), tmp_path / "x") < 1024 * places


def test_what_is_written_is_read_again(tiny, lora, tmp_path):
    for made in (
        learnt(tiny, lora, items(SOURCE), answers=ANSWERS),
        learnt(tiny, lora, items(SOURCE, LETTERS), vocabulary=[5, 7, 9]),
        learnt(tiny, lora, items(SOURCE, LABELS)),
    ):
        write_taught(made, [0, 1, 4, 5, 8], tmp_path / "x")
        found, lines = read_taught(tmp_path / "x")
        assert lines == [0, 1, 4, 5, 8]
        assert type(found) is type(made)
        for name, x in vars(made.of([4, 0])).items():
            other = getattr(found.of([4, 0]), name)
            assert other is None if x is None else torch.equal(x, other)


def test_the_first_loss_is_the_divergence_and_it_falls(tiny, teacher, tmp_path):
    wanted = learnt(tiny, teacher, items(SOURCE, LETTERS))
    assert isinstance(wanted, TaughtTokens)
    before = state(tiny)
    options = {"training": {**WHOLE, "max_steps": 20}, "seed": 0}
    found = distil(tiny, items(TARGET), wanted, tmp_path / "Rt", start=teacher, **options)
    assert_untouched(tiny, before)
    ours, theirs = (one_by_one(tiny, teacher, texts) for texts in (TARGET, SOURCE))
    first = first_loss([x[:1] for x in ours], [x[:1] for x in theirs], 5)
    assert found["losses"][0] == pytest.approx(first, rel=1e-3)
    after = first_loss(
        [x[:1] for x in one_by_one(tiny, tmp_path / "Rt", TARGET)], [x[:1] for x in theirs], 5
    )
    assert after < 0.95 * first
    assert (found["rows"], found["steps"]) == (5, 20)


def test_a_whole_answer_is_learnt_token_by_token(tiny, teacher, tmp_path):
    """The sum of the divergences at every token and at the end, over how many those are."""
    wanted = learnt(tiny, teacher, items(SOURCE), answers=ANSWERS)
    found = distil(
        tiny, items(TARGET), wanted, tmp_path / "Rt", start=teacher, training=WHOLE, seed=0
    )
    ours, theirs = (one_by_one(tiny, teacher, texts, ANSWERS) for texts in (TARGET, SOURCE))
    places = int(wanted.lengths.sum())
    assert found["losses"][0] == pytest.approx(first_loss(ours, theirs, places), rel=1e-3)


def test_how_far_t_is_from_itself_across_languages(tiny, teacher, tmp_path):
    """Nothing at its own prompts; at the target's what the first loss of its student is."""
    for choices, answers in (((), ANSWERS), (LETTERS, None), (LABELS, None)):
        wanted = learnt(tiny, teacher, items(SOURCE, choices), answers=answers)
        with tiny.adapted(teacher) as model:
            own, other = (
                divergence_from(tiny, model, items(texts, choices), wanted)
                for texts in (SOURCE, TARGET)
            )
        assert own == pytest.approx(0.0, abs=1e-5)
        output = tmp_path / "-".join(("to", *choices)).replace(" ", "")
        options = {"start": teacher, "training": WHOLE, "seed": 0}
        found = distil(tiny, items(TARGET, choices), wanted, output, **options)
        assert other == pytest.approx(found["losses"][0], rel=1e-3)


@pytest.mark.parametrize("weights", [(), (1.5, 0.5, 2.0, 0.25, 0.75)])
def test_choices_of_several_tokens_are_learnt_as_they_are_scored(tiny, teacher, tmp_path, weights):
    other = tuple(f"{label}e" for label in LABELS)  # the target's own, in another language
    wanted = learnt(tiny, teacher, items(SOURCE, LABELS, weights))
    assert isinstance(wanted, TaughtChoices)
    found = distil(
        tiny, items(TARGET, other, weights), wanted, tmp_path / "Rt", start=teacher,
        training=WHOLE, seed=0,
    )  # fmt: skip

    def over_choices(prompt, choices):
        scores = []
        with tiny.adapted(teacher) as model:
            for choice, weight in zip(choices, weights or [1.0] * 5, strict=True):
                logits, ids = completion_logits(tiny, Example(prompt, choice), model=model)
                logs = logits.log_softmax(-1).gather(1, ids[:, None])
                scores.append(weight * logs[:-1].sum())  # without the end
        return torch.stack(scores).log_softmax(-1)

    pairs = zip(TARGET, SOURCE, strict=True)
    first = sum(divergence(over_choices(t, other), over_choices(s, LABELS)) for t, s in pairs) / 5
    assert found["losses"][0] == pytest.approx(first, rel=1e-3)


def test_accumulated_steps_are_the_same_as_large_ones(tiny, lora, tmp_path):
    """Batches of 5 and 1 are not the mean of two means, and answers have other lengths."""
    wanted = learnt(tiny, lora, items(SOURCE), answers=ANSWERS)
    losses = []
    for batch, steps in ((6, 1), (3, 2)):
        size = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
        training = {**TRAINING, **size, "max_steps": 3}
        options = {"start": lora, "training": training, "seed": 1}
        made = distil(tiny, items(TARGET), wanted, tmp_path / str(batch), **options)
        losses.append(made["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_cut_vocabulary_is_a_distribution_among_its_tokens(tiny, lora, tmp_path):
    """Few tokens are all kept: it is the divergence of the distributions themselves."""
    ids = sorted({tiny.tokenizer(label).input_ids[0] for label in LETTERS})
    wanted = learnt(tiny, lora, items(SOURCE, LETTERS), vocabulary=ids)
    found = distil(tiny, items(TARGET), wanted, tmp_path / "Rt", start=lora, training=WHOLE, seed=0)
    ours, theirs = (
        torch.cat([x[:1, ids] for x in one_by_one(tiny, lora, texts)]).log_softmax(-1)
        for texts in (TARGET, SOURCE)
    )
    assert found["losses"][0] == pytest.approx(divergence(ours, theirs) / 5, rel=1e-3)


def test_what_was_killed_goes_on(tiny, lora, tmp_path, monkeypatch):
    wanted = learnt(tiny, lora, items(SOURCE), answers=ANSWERS)
    options = {"start": lora, "training": {**TRAINING, "max_steps": 5}, "seed": 3}
    distil(tiny, items(TARGET), wanted, tmp_path / "wanted", **options)
    monkeypatch.setenv(EVERY, "0")
    whole = CheckpointWriter.on_save

    def killed(self, args, state, control, **more):
        whole(self, args, state, control, **more)
        if state.global_step == 2:
            raise KeyboardInterrupt

    options["checkpoints"] = tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "on_save", killed)
        with pytest.raises(KeyboardInterrupt):
            distil(tiny, items(TARGET), wanted, tmp_path / "found", **options)
    distil(tiny, items(TARGET), wanted, tmp_path / "found", **options)
    assert snapshot(tmp_path / "found") == snapshot(tmp_path / "wanted")


def test_an_answer_longer_than_there_is_room_for_is_cut_behind(tiny, lora, tmp_path):
    """The prompt first, as in other trainings; what is left is learnt."""
    wanted = learnt(tiny, lora, items(SOURCE), answers=[" of the race" * 9] * 5)
    training = {**WHOLE, "max_length": 8}
    options = {"start": lora, "training": training, "seed": 0}
    found = distil(tiny, items(TARGET), wanted, tmp_path / "Rt", **options)
    assert found["tokens"] <= 8 * 5
    assert found["losses"][0] > 0


@pytest.mark.filterwarnings("ignore:The PEFT config's:UserWarning")
def test_what_does_not_fit_is_named(tiny, lora, tmp_path):
    options = {"start": lora, "training": TRAINING, "seed": 0}
    made = learnt(tiny, lora, items(SOURCE), answers=ANSWERS)
    with pytest.raises(InputError, match="rows: found 4; needed 5, as are taught"):
        distil(tiny, items(TARGET[:4]), made, tmp_path / "Rt", **options)
    with pytest.raises(InputError, match="rows: found 0; needed at least one"):
        distil(tiny, [], made.of([]), tmp_path / "Rt", **options)
    with pytest.raises(InputError, match="rows: found 0; needed at least one"):
        learnt(tiny, lora, [])
    with pytest.raises(InputError, match="rows: found 0; needed at least one"):
        distil(tiny, [], learnt(tiny, lora, items(SOURCE, LABELS)).of([]), tmp_path, **options)
    choices = learnt(tiny, lora, items(SOURCE, LABELS))
    with pytest.raises(InputError, match="item: 0: choices: found 4; needed 5, as the teacher has"):
        distil(tiny, items(TARGET, LABELS[:4]), choices, tmp_path / "Rt", **options)
    foreign = replace(made, ids=made.ids + 300)
    with pytest.raises(InputError, match=r"token: found .*; needed at most .*, as the model has"):
        distil(tiny, items(TARGET), foreign, tmp_path / "Rt", **options)
    other = backbone(str(write_tiny("llama", tmp_path / "other")))
    before = state(other)
    with pytest.raises(InputError, match=r"lora.*: found .*; needed .*, as the base"):
        distil(other, items(TARGET), made, tmp_path / "Rt", **options)
    assert_untouched(other, before)


KINDS = ("gemma3", "t5", "xlm-roberta")
RATES = {"decoder": 3e-2, "encoder-decoder": 3e-2, "encoder": 1e-3}
ADAPTERS = {
    "lora": STRUCTURES["lora"],
    "ia3": {"type": "ia3"},
    "prefix": STRUCTURES["prefix"],
}


@pytest.fixture(scope="module", params=[(k, s) for k in KINDS for s in ADAPTERS], ids="-".join)
def cell(request, tmp_path_factory):
    """T of each structure on each family of backbone."""
    kind, structure = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{structure}")
    base = backbone(
        str(write_tiny(kind, folder / kind)), 5 if FAMILIES[kind] == "encoder" else None
    )
    for module in base.model.modules():  # the student's would be drawn anew at each step
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = [Example(p, c, i) for i, (p, c) in enumerate(zip(SOURCE, LABELS, strict=True))]
    training = {**WHOLE, "max_steps": 8, "learning_rate": RATES[base.family]}
    options = {"adapter": ADAPTERS[structure], "training": training, "seed": 1}
    train_adapter(base, rows, folder / "T", **options)
    return base, folder / "T"


def ways(base):
    """What T has to teach, each way that the family has, and the rest of an item."""
    if base.family == "encoder":
        return {"classes": (LABELS, {})}
    return {
        "one token": (LETTERS, {"by_choice": False}),
        "choices": (LABELS, {}),
        "free text": ((), {"answers": ANSWERS}),
    }


def test_at_its_own_prompts_t_has_nothing_to_learn(cell, tmp_path):
    """The divergence is 0, the least there is, and one step of plain descent leaves T as it is."""
    base, start = cell
    training = {**WHOLE, "learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0.0}
    for name, (choices, options) in ways(base).items():
        wanted = learnt(base, start, items(SOURCE, choices), **options)
        same = {"start": start, "training": training, "seed": 0}
        before = state(base)
        found = distil(base, items(SOURCE, choices), wanted, tmp_path / name, **same)
        assert_untouched(base, before)
        assert found["losses"][0] == pytest.approx(0.0, abs=1e-5)
        own, after = stored_tensors(start), stored_tensors(tmp_path / name)
        assert own.keys() == after.keys()
        for tensor, value in own.items():
            assert after[tensor] == pytest.approx(value, abs=2e-3), name


def test_at_other_prompts_it_learns_and_keeps_its_head(cell, tmp_path):
    base, start = cell
    training = {
        **WHOLE,
        "max_steps": 12,
        "learning_rate": 2e-2 if base.family == "encoder" else 3e-2,
    }
    for name, (choices, options) in ways(base).items():
        wanted = learnt(base, start, items(SOURCE, choices), **options)
        same = {"start": start, "training": training, "seed": 0}
        found = distil(base, items(TARGET, choices), wanted, tmp_path / name, **same)
        assert found["losses"][-1] < 0.95 * found["losses"][0], name
        own, after = stored_tensors(start), stored_tensors(tmp_path / name)
        heads = [tensor for tensor in own if "classifier" in tensor]
        assert bool(heads) == (base.family == "encoder")
        for tensor in heads:
            assert (own[tensor] == after[tensor]).all()
        assert any((own[tensor] != after[tensor]).any() for tensor in own)


@pytest.mark.parametrize("cell", [("xlm-roberta", "lora")], indirect=True)
def test_an_encoder_is_not_taught_without_ts_head(cell, tmp_path):
    base, start = cell
    wanted = learnt(base, start, items(SOURCE, LABELS))
    masked = backbone(base.model.name_or_path)
    untrained(masked, ADAPTERS["lora"], 0, tmp_path / "start")
    same = {"start": tmp_path / "start", "training": WHOLE, "seed": 0}
    before = state(base)
    with pytest.raises(InputError, match="start: head: found none; needed T's"):
        distil(base, items(TARGET, LABELS), wanted, tmp_path / "out", **same)
    assert_untouched(base, before)


def test_a_training_on_labels_goes_on_from_t_its_head_too(cell, tmp_path):
    """At a rate of nearly nothing it is T still; at another all parts of it that learn are not."""
    base, start = cell
    rows = [Example(p, c, i) for i, (p, c) in enumerate(zip(TARGET, LABELS, strict=True))]
    own, before = stored_tensors(start), state(base)
    for rate in (1e-30, RATES[base.family]):
        training = {**WHOLE, "max_steps": 4, "learning_rate": rate}
        options = {"adapter": {}, "training": training, "seed": 0, "start": start}
        found = train_adapter(base, rows, tmp_path / str(rate), **options)
        assert_untouched(base, before)
        assert found["init_sha256"] is None
        after = stored_tensors(tmp_path / str(rate))
        assert own.keys() == after.keys()
        for tensor, value in own.items():
            assert (after[tensor] == pytest.approx(value, abs=1e-6)) == (rate == 1e-30), tensor
