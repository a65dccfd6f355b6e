"""Options that change how a training is carried out change nothing that is learnt."""

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from adamergex.errors import InputError
from adamergex.score import TaughtTokens
from adamergex.tasks import Item
from adamergex.train import distil, train_adapter
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES, assert_untouched, state
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING

TRAINING = {"learning_rate": 1e-2, "max_steps": 3, "per_device_train_batch_size": 4}
WORKERS = {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 3}


def trained(tiny, output, structure="lora", **options):
    adapter = STRUCTURES[structure]
    training = {**TRAINING, **options}
    return train_adapter(tiny, ROWS, output, adapter=adapter, training=training, seed=0)


def passes(tiny, train):
    """How often the first layer's feed-forward part is run."""
    ran = []
    part = tiny.model.get_decoder().layers[0].mlp
    handle = part.register_forward_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    record = train()
    handle.remove()
    return len(ran), record


def assert_alike(one, two, places):
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-5)
    first, second = map(stored_tensors, places)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("structure", ["lora", "ia3"])
def test_layers_that_are_run_again_learn_the_same(tiny, tmp_path, structure):
    before = state(tiny)
    places = [tmp_path / "kept", tmp_path / "again"]
    once, kept = passes(tiny, lambda: trained(tiny, places[0], structure))
    twice, again = passes(
        tiny, lambda: trained(tiny, places[1], structure, gradient_checkpointing=True)
    )
    assert twice == 2 * once
    assert_alike(kept, again, places)
    assert_untouched(tiny, before)
    assert not tiny.model.is_gradient_checkpointing
    embedded = tiny.model.get_input_embeddings()(torch.tensor([[1]]))
    assert not embedded.requires_grad


def test_distillation_with_layers_that_are_run_again_learns_the_same(tiny, tmp_path):
    start = tmp_path / "start"
    trained(tiny, start)
    items = [Item(str(i), row.prompt or "text =", (), None) for i, row in enumerate(ROWS)]
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 100, (len(ROWS), 4), generator=random)
    logs = torch.randn(len(ROWS), 5, generator=random).log_softmax(-1)
    learnt = TaughtTokens(torch.ones(len(ROWS), dtype=torch.long), ids[:0, 0], ids, logs)
    places, found = [tmp_path / "kept", tmp_path / "again"], []
    for place, again in zip(places, (False, True), strict=True):
        training = {**TRAINING, "gradient_checkpointing": again}
        found.append(
            passes(
                tiny,
                lambda at=place, t=training: distil(
                    tiny, items, learnt, at, start=start, training=t, seed=0
                ),
            )
        )
    (once, kept), (twice, other) = found
    assert twice == 2 * once
    assert_alike(kept, other, places)


def test_a_prefix_is_refused_where_layers_would_be_run_again_without_it(tiny, tmp_path):
    before = state(tiny)
    with pytest.raises(InputError, match="gradient_checkpointing: found a prefix; needed false"):
        trained(tiny, tmp_path / "out", "prefix", gradient_checkpointing=True)
    assert_untouched(tiny, before)


def test_processes_that_make_batches_ready_change_no_byte(tiny, tmp_path):
    one, two = trained(tiny, tmp_path / "one"), trained(tiny, tmp_path / "two", **WORKERS)
    assert one["losses"] == two["losses"]
    first, second = (tmp_path / x / "adapter_model.safetensors" for x in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_a_tracker_is_told_the_losses_of_the_record(tiny, tmp_path, monkeypatch):
    told = []

    class Tracker(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            told.append(args.run_name)

        def on_log(self, args, state, control, logs=None, **kwargs):
            told.append(logs)

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "mlflow", Tracker)
    sent = {"report_to": ["mlflow"], "run_name": "a run", "logging_strategy": "steps"}
    plain = trained(tiny, tmp_path / "plain")
    record = trained(tiny, tmp_path / "out", logging_steps=1, **sent)
    name, *logs, _end = told
    assert name == "a run"
    assert [log["loss"] for log in logs] == pytest.approx(record["losses"], rel=1e-4)
    assert record["losses"] == plain["losses"]
