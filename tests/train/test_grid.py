"""Three structures on three families of backbone: trained, merged, scored, and taken off again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel

from adamergex import merge
from adamergex.errors import InputError
from adamergex.models import backbone, backbone_family
from adamergex.score import generations, likelihoods
from adamergex.tasks import Example, Item
from adamergex.train import train_adapter
from tests.support.backbones import FAMILIES, QUIET_TRAINING, assert_untouched, state, write_tiny
from tests.support.folders import stored_tensors

pytestmark = QUIET_TRAINING

LABELS = ("Food", "Travel", "Animals")
NAMES = ("red apple", "train", "a lion", "soccer ball", "the English text", "a big smile")
RATES = {"decoder": 3e-2, "encoder-decoder": 3e-2, "encoder": 1e-3}
TRAINING = {"max_steps": 8, "per_device_train_batch_size": 6}
STRUCTURES = {
    "lora": {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    "ia3": {"type": "ia3"},
    "prefix": {"type": "prefix", "num_virtual_tokens": 3},
}
ITEMS = [
    Item(str(i), f"{name} =", tuple(f" {x}" for x in LABELS), 0) for i, name in enumerate(NAMES)
]
TASK = [Example(item.prompt, item.choices[i % 3], i % 3) for i, item in enumerate(ITEMS)]
TEXTS = {
    "reference_source": [f"the {name} with the face" for name in NAMES],
    "reference_target": [f"{name[::-1]} eht htiw" for name in NAMES],
}


@dataclass
class Cell:
    """One structure on one backbone: the adapters by role, and the backbone they are for."""

    name: str
    family: str
    structure: str
    adapters: dict[str, Path]
    records: dict[str, Any]

    @property
    def base(self) -> Any:
        return backbone(self.name, len(LABELS) if self.family == "encoder" else None)

    def scores(self, adapter: Path | None) -> np.ndarray:
        with self.base.adapted(adapter) as model:
            found = likelihoods(self.base, model, ITEMS)
        return np.array([[log for log, _ in row] for row in found])


def text_rows(family, lines):
    """What a reference learns: plain text, or for an encoder-decoder its second half."""
    if family != "encoder-decoder":
        return [Example("", line) for line in lines]
    return [Example(line[:9], line[9:]) for line in lines]


@pytest.fixture(scope="module", params=[(k, s) for k in FAMILIES for s in STRUCTURES], ids="-".join)
def cell(request, tmp_path_factory):
    kind, structure = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{structure}")
    name = str(write_tiny(kind, folder / kind))
    made = Cell(name, FAMILIES[kind], structure, {}, {})
    training = {**TRAINING, "learning_rate": RATES[made.family]}
    options = {"adapter": STRUCTURES[structure], "training": training, "seed": 1}
    for role in ("task", *TEXTS):
        base = made.base if role == "task" else backbone(name)
        rows = TASK if role == "task" else text_rows(made.family, TEXTS[role])
        before = state(base)
        made.adapters[role] = folder / role
        made.records[role] = train_adapter(base, rows, folder / role, **options)
        assert_untouched(base, before)
    return made


def test_the_family_is_known_from_the_config(cell):
    assert backbone_family(cell.name) == cell.family == cell.base.family


def test_the_three_start_from_one_point_and_end_apart(cell):
    assert len({record["init_sha256"] for record in cell.records.values()}) == 1
    tensors = [stored_tensors(folder) for folder in cell.adapters.values()]
    own = set.intersection(*(set(t) for t in tensors))
    assert own
    for one, other in ((0, 1), (1, 2)):
        assert any(np.abs(tensors[one][n] - tensors[other][n]).max() > 1e-4 for n in own)


def test_the_task_is_learnt(cell):
    assert cell.records["task"]["losses"][-1] < cell.records["task"]["losses"][0]
    assert np.abs(cell.scores(cell.adapters["task"]) - cell.scores(None)).max() > 1e-2


def test_a_merge_does_what_its_scale_says(cell, tmp_path):
    """At 0 it is T to the last digit that is stored; at 1 another adapter, and no NaN."""
    own = cell.scores(cell.adapters["task"])
    for scale in (0.0, 1.0):
        merge(**cell.adapters, scale=scale).save(tmp_path / str(scale))
    np.testing.assert_allclose(cell.scores(tmp_path / "0.0"), own, atol=1e-4)
    moved = cell.scores(tmp_path / "1.0")
    assert np.isfinite(moved).all()
    assert np.abs(moved - own).max() > 1e-4


def test_peft_loads_a_merge_and_answers_the_same(cell, tmp_path):
    """Through PEFT's own wrapper, one item at a time."""
    merge(**cell.adapters, scale=0.5).save(tmp_path / "merged")
    wanted = cell.scores(tmp_path / "merged")
    base = cell.base
    before = state(base)
    wrapped = PeftModel.from_pretrained(base.model, str(tmp_path / "merged")).eval()
    try:
        found = np.array(
            [[log for log, _ in likelihoods(base, wrapped, [item])[0]] for item in ITEMS]
        )
    finally:
        base.restored(wrapped)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert_untouched(base, before)


def test_free_answers_are_written_with_the_adapter_on(cell):
    items = [Item(i.id, i.prompt, (), None, ("\n",), 6) for i in ITEMS]
    with cell.base.adapted(cell.adapters["task"]) as model:
        if cell.family == "encoder":
            with pytest.raises(InputError, match="free text"):
                generations(cell.base, model, items)
            return
        adapted = generations(cell.base, model, items)
    with cell.base.adapted(None) as model:
        assert generations(cell.base, model, items) != adapted
    assert len(adapted) == len(items)
