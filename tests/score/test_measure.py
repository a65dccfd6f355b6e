"""What is made of the likelihoods of choices: labels, and the score among several metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.metrics import f1_score

from adamergex.errors import InputError
from adamergex.score import measure
from adamergex.tasks import Questions

CHOICES = ["yes", "certainly not", "ça dépend", "нет"]
TASK = {
    "task": "t",
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}}",
    "doc_to_choice": CHOICES,
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc"}],
}
ROWS = [{"text": f"row {i}", "label": i % 4} for i in range(8)]
LOGS = arrays(np.float64, (8, 4), elements=st.floats(-50, -0.01))


F1 = {"metric": "f1", "aggregation": "weighted_f1"}


def asked(*metrics):
    entries = [F1 if name == "f1" else {"metric": name} for name in metrics]
    return Questions({**TASK, "metric_list": entries}, ROWS)


ASKED = {
    metrics: asked(*metrics)
    for metrics in [("acc",), ("acc_norm", "acc"), ("acc_bytes",), ("f1", "acc_norm")]
}


WIDTHS = {
    metrics: np.array(
        [1, 1, 1, 1]
        if metrics == ("acc",)
        else [len(c.encode() if metrics == ("acc_bytes",) else c) for c in CHOICES]
    )
    for metrics in ASKED
}
"""What each metric divides the log-likelihoods by."""


def measured(found, logs, monkeypatch):
    answers = [[(float(log), False) for log in row] for row in logs]
    monkeypatch.setattr(measure, "likelihoods", lambda *_: answers)
    return measure.measured(None, None, found)


@pytest.mark.parametrize("metrics", ASKED)
@given(logs=LOGS)
def test_the_label_is_the_choice_that_the_score_takes(metrics, logs):
    with pytest.MonkeyPatch.context() as patch:
        record = measured(ASKED[metrics], logs, patch)
    right = [float(p == row["label"]) for p, row in zip(record["predictions"], ROWS, strict=True)]
    assert record["metric"] == next(name for name in metrics if name != "f1")
    assert record["values"] == right
    assert record["score"] == pytest.approx(sum(right) / 8)


def test_lengths_make_other_labels(monkeypatch):
    logs = np.tile([-3.0, -4.0, -5.0, -3.5], (8, 1))
    labels = {
        metrics: measured(found, logs, monkeypatch)["predictions"][0]
        for metrics, found in ASKED.items()
    }
    # 3 of 1, 3/13 of 4, 5/9 of 5 and 3.5/3: characters; in bytes 5/11 and 3.5/6.
    assert labels == {("acc",): 0, ("acc_norm", "acc"): 1, ("acc_bytes",): 1, ("f1", "acc_norm"): 1}


@pytest.mark.parametrize("metrics", ASKED)
@given(logs=LOGS)
def test_an_ensemble_of_equals_is_each_of_them(metrics, logs):
    with pytest.MonkeyPatch.context() as patch:
        one = measured(ASKED[metrics], logs, patch)
    found = measure.ensembled(ASKED[metrics], [one["log_likelihoods"]] * 3)
    np.testing.assert_allclose(found["log_likelihoods"], logs, rtol=1e-9, atol=1e-9)
    assert found["metric"] == one["metric"]
    scores = logs / WIDTHS[metrics]
    clear = np.ptp(np.sort(scores)[:, -2:], axis=1) > 1e-6  # ties may fall either way
    for key in ("values", "predictions"):
        same = np.asarray(found[key]) == np.asarray(one[key])
        assert same[clear].all()


@pytest.mark.parametrize("metrics", ASKED)
@given(one=LOGS, other=LOGS)
def test_an_ensemble_is_the_mean_of_probabilities_of_choices(metrics, one, other):
    found = measure.ensembled(ASKED[metrics], [one.tolist(), other.tolist()])
    weights = np.mean(WIDTHS[metrics]) / WIDTHS[metrics]
    wanted = (softmax(weights * one, 1) + softmax(weights * other, 1)) / 2
    ours = softmax(weights * np.asarray(found["log_likelihoods"]), 1)
    np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-12)
    best = wanted[np.arange(8), found["predictions"]]
    np.testing.assert_allclose(best, wanted.max(axis=1), rtol=1e-7)


def test_a_metric_of_the_whole_stands_beside_the_score(monkeypatch):
    found = asked("f1", "acc")
    logs = -np.random.default_rng(0).random((8, 4))
    record = measured(found, logs, monkeypatch)
    gold = [row["label"] for row in ROWS]
    wanted = f1_score(gold, logs.argmax(1), average="weighted")
    assert record["metrics"]["f1"] == pytest.approx(wanted)
    assert record["metric"] == "acc"
    assert record["score"] == pytest.approx(np.mean(logs.argmax(1) == gold))


def test_without_a_mean_over_items_there_is_no_score(monkeypatch):
    with pytest.raises(InputError, match="metric_list: found f1, mcc; needed a mean over items"):
        measured(asked("f1", "mcc"), -np.ones((8, 4)), monkeypatch)
    plain = Questions({**TASK, "metric_list": [{"metric": "acc"}, {"metric": "f1"}]}, ROWS)
    with pytest.raises(InputError, match="f1: found Target is multiclass"):
        measured(plain, -np.random.default_rng(0).random((8, 4)), monkeypatch)


def test_xlt_asks_to_retell_before_the_tail_is_lost(monkeypatch):
    free = {**TASK, "output_type": "generate_until", "shorten": "text",
            "metric_list": [{"metric": "exact_match"}]}  # fmt: skip
    free["doc_to_text"] = "{{text}} -> "
    del free["doc_to_choice"]
    seen = []

    def generations(backbone, model, items):
        seen.append(items)
        return ["x"] * len(items)

    monkeypatch.setattr(measure, "generations", generations)
    prompting = {"kind": "xlt", "language": "Swahili", "retell_in": "English"}
    measure.measured(None, None, Questions(free, ROWS), prompting)
    thought, last = (items[0] for items in seen)
    assert thought.prompt[: -thought.tail].endswith("row 0")
    assert last.prompt[: -last.tail].endswith("row 0")
