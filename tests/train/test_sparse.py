"""Sparse fine-tuning: few weights change, all others are bit for bit what they were."""

import numpy as np
import pytest
import torch

from adamergex.errors import InputError
from adamergex.models import add_sparse, backbone, read_sparse, write_sparse
from adamergex.models.sparse import CONFIG_FILE, WEIGHTS_FILE
from adamergex.tasks import Example
from adamergex.train import train_sparse, vocabulary_of
from tests.support.backbones import QUIET_TRAINING, ROWS, assert_untouched, state, write_tiny
from tests.support.folders import snapshot

pytestmark = QUIET_TRAINING

TRAINING = {"learning_rate": 3e-3, "max_steps": 4, "per_device_train_batch_size": 8}


def trained(tiny, output, rows=ROWS, density=0.1, **options):
    options = {"training": TRAINING, "seed": 0, **options}
    return train_sparse(tiny, rows, output, density=density, **options)


def with_it(tiny, folder):
    with tiny.adapted(folder) as model:
        return {name: x.clone() for name, x in model.state_dict().items()}


@pytest.mark.parametrize("density", [0.01, 0.3, 1.0])
def test_as_many_weights_change_as_density_says(tiny, tmp_path, density):
    before = state(tiny)
    record = trained(tiny, tmp_path / "out", density=density)
    assert_untouched(tiny, before)
    embeddings = tiny.model.get_input_embeddings().weight.numel()
    weights = sum(p.numel() for p in tiny.model.parameters()) - embeddings
    assert record["trainable"] == weights
    assert record["kept"] == round(density * weights)
    found = read_sparse(tmp_path / "out")
    assert sum(len(index) for index, _ in found.values()) == record["kept"]
    after = with_it(tiny, tmp_path / "out")
    for name, old in before.items():
        index = found.get(name, (np.array([], int),))[0]
        same = np.ones(old.numel(), bool)
        same[index] = False
        assert np.array_equal(old.flatten().numpy()[same], after[name].flatten().numpy()[same])
    assert "model.embed_tokens.weight" not in found


def test_what_is_trained_is_saved_and_put_on(tiny, tmp_path):
    """The loss of a step further is that of the weights with the difference on them."""
    record = trained(tiny, tmp_path / "out")
    assert record["losses"][-1] < record["losses"][0]
    again = trained(tiny, tmp_path / "more", beneath=tmp_path / "out")
    assert again["losses"][0] < record["losses"][-1]


def test_the_weights_that_changed_most_are_kept(tiny, tmp_path):
    """The tenth that full training (density 1) moves furthest is the tenth that is trained."""
    trained(tiny, tmp_path / "full", density=1.0)
    trained(tiny, tmp_path / "tenth", density=0.1)
    full, tenth = read_sparse(tmp_path / "full"), read_sparse(tmp_path / "tenth")
    moved = np.concatenate([np.abs(value) for _, value in full.values()])
    kept = np.concatenate([np.isin(full[name][0], tenth[name][0]) for name in full])
    assert moved[kept].min() >= moved[~kept].max() - 1e-6


def test_what_is_beneath_is_no_part_of_the_result(tiny, tmp_path):
    before = state(tiny)
    trained(tiny, tmp_path / "language", ROWS[:4])
    trained(tiny, tmp_path / "task", ROWS[4:], beneath=tmp_path / "language", density=0.02)
    assert_untouched(tiny, before)
    found = read_sparse(tmp_path / "task")
    assert sum(len(index) for index, _ in found.values()) < sum(
        len(index) for index, _ in read_sparse(tmp_path / "language").values()
    )


def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path):
    vocabulary = vocabulary_of(tiny, ROWS)
    for name in ("one", "two"):
        trained(tiny, tmp_path / name, vocabulary=vocabulary)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_weights_that_are_not_trained_do_not_decay(tiny, tmp_path):
    training = {**TRAINING, "weight_decay": 0.5}
    trained(tiny, tmp_path / "one", training=training)
    trained(tiny, tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def made(folder, **weights):
    write_sparse(folder, weights, {"base_model_name_or_path": "m"})
    return folder


def pair(index, value):
    return np.array(index), np.array(value)


def test_the_sum_of_two(tmp_path):
    one = made(tmp_path / "one", a=pair([1, 4], [0.5, 2.0]), b=pair([0], [1.0]))
    two = made(tmp_path / "two", a=pair([0, 4], [3.0, -0.5]), c=pair([2], [7.0]))
    assert add_sparse([one, two], tmp_path / "sum") == {"kept": 5}
    found = read_sparse(tmp_path / "sum")
    assert {n: (i.tolist(), v.tolist()) for n, (i, v) in found.items()} == {
        "a": ([0, 1, 4], [3.0, 0.5, 1.5]),
        "b": ([0], [1.0]),
        "c": ([2], [7.0]),
    }
    assert (tmp_path / "sum" / CONFIG_FILE).is_file()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": pair([4, 1], [1.0, 1.0])}, "positions out of order"),
        ({"a": pair([1, 1], [1.0, 1.0])}, "positions out of order"),
        ({"a": pair([-1], [1.0])}, "positions out of order"),
        ({"a": pair([1], [np.nan])}, "finite"),
        ({"a": pair([1], [1.0, 2.0])}, "index and value that differ"),
    ],
)
def test_what_is_no_sparse_fine_tuning(tmp_path, weights, says):
    with pytest.raises(InputError, match=says):
        read_sparse(made(tmp_path / "x", **weights))


def test_a_file_that_is_none(tmp_path):
    (tmp_path / WEIGHTS_FILE).write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="a sparse fine-tuning"):
        read_sparse(tmp_path)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"model.norm.weight": pair([32], [1.0])}, "found 32; needed below 32"),
        ({"model.other.weight": pair([0], [1.0])}, "needed a weight of the base model"),
    ],
)
def test_one_that_does_not_fit_the_model(tiny, tmp_path, weights, says):
    before = state(tiny)
    folder = made(tmp_path / "x", **weights)
    with pytest.raises(InputError, match=says), tiny.adapted(folder):
        pass
    assert_untouched(tiny, before)


def test_an_encoder_learns_its_language_then_its_task(tmp_path):
    """What fills in masked tokens stays out of the model that classifies; its new head is whole."""
    name = str(write_tiny("xlm-roberta", tmp_path / "model"))
    language, task = tmp_path / "language", tmp_path / "task"
    body = backbone(name)
    before = state(body)
    trained(body, language, [Example("", f"a line of text, {i}") for i in range(8)])
    assert_untouched(body, before)
    classifier = backbone(name, 2)
    rows = [Example(f"{'good' if i % 2 else 'bad'} =", "", i % 2) for i in range(8)]
    options = {**TRAINING, "learning_rate": 1e-2, "max_steps": 12}
    record = trained(classifier, task, rows, beneath=language, training=options)
    assert record["losses"][-1] < record["losses"][0]
    head = {n: p for n, p in classifier.model.named_parameters() if n.startswith("classifier.")}
    found = read_sparse(task)
    assert {n: len(found[n][0]) for n in head} == {n: p.numel() for n, p in head.items()}
    assert not any(name.startswith("lm_head") for name in read_sparse(language))
    add_sparse([task, language], tmp_path / "both")
    after = with_it(classifier, tmp_path / "both")
    assert not torch.equal(after["classifier.out_proj.weight"], head["classifier.out_proj.weight"])
