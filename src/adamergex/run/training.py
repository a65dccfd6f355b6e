"""The steps that train, and the states that a teacher hands on; see run.functions."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adamergex.errors import InputError
from adamergex.run.store import CHECKPOINTS, read_record

__all__ = [
    "Config",
    "Inputs",
    "Record",
    "called",
    "distil",
    "model_of",
    "states",
    "train",
    "train_sparse",
]

Config = Mapping[str, Any]
Inputs = Mapping[str, Path]
Record = dict[str, Any]

_NAMES: ContextVar[Mapping[str, str]] = ContextVar("names", default=MappingProxyType({}))


@contextmanager
def called(names: Mapping[str, str]) -> Generator[None]:
    """Has what is trained within it call local models by these names, by the models' SHA-256."""
    token = _NAMES.set(names)
    try:
        yield
    finally:
        _NAMES.reset(token)


def model_of(config: Config, inputs: Inputs) -> str:
    """The model's name, or where it lies: a local one is known by its digest."""
    return str(inputs.get(config["model"], config["model"]))


def _base(config: Config, inputs: Inputs, classes: int | None = None) -> Any:
    """The base model, under the name by which adapters are to know it."""
    from adamergex.models import backbone

    base = backbone(model_of(config, inputs), classes)
    name = _NAMES.get().get(config["model"])
    if name is not None:
        base.model.name_or_path = base.model.config.name_or_path = name
    return base


def train(config: Config, inputs: Inputs, out: Path) -> Record:
    """One adapter, in out/adapter."""
    from adamergex.train import train_adapter

    base, rows, options = _training(config, inputs, out)
    return train_adapter(base, rows, out / "adapter", adapter=config["adapter"], **options)


def train_sparse(config: Config, inputs: Inputs, out: Path) -> Record:
    """A sparse fine-tuning, in out/adapter."""
    from adamergex.train import train_sparse as trained

    base, rows, options = _training(config, inputs, out)
    return trained(base, rows, out / "adapter", density=config["density"], **options)


def states(config: Config, inputs: Inputs, out: Path) -> Record:
    """The states before its answers of an adapter's, in out/states.safetensors."""
    import torch
    from safetensors.torch import save_file

    from adamergex.models import backbone
    from adamergex.score import states_of

    asked = _asked(config, inputs)
    base = backbone(model_of(config, inputs))
    with base.adapted(inputs["adapter"] / "adapter") as model:
        found = states_of(base, model, list(asked.values()))
    # By line: blank ones have none.
    save_file({"states": found, "lines": torch.tensor(list(asked))}, out / "states.safetensors")
    return {"n": len(found)}


def distil(config: Config, inputs: Inputs, out: Path) -> Record:
    """T trained on until it reads another language as it reads its own, in out/adapter."""
    from safetensors.torch import load_file

    from adamergex.train import distil as distilled

    asked = _asked(config, inputs)
    taught = load_file(inputs["states"] / "states.safetensors")
    pairs = [(asked[i], k) for k, i in enumerate(taught["lines"].tolist()) if i in asked]
    base = _base(config, inputs)
    record = distilled(
        base,
        [prompt for prompt, _ in pairs],
        taught["states"][[k for _, k in pairs]],
        out / "adapter",
        start=inputs["start"] / "adapter",
        training=config["training"],
        seed=config["seed"],
        vocabulary=_vocabulary(config, inputs, base, []),
        checkpoints=out / CHECKPOINTS,
    )
    return {**record, "init_sha256": read_record(inputs["start"])["init_sha256"]}


def _vocabulary(config: Config, inputs: Inputs, base: Any, rows: list[Any]) -> list[int] | None:
    """The tokens of the softmax: all, or those that these rows' completions, or choices, use."""
    from adamergex.tasks import Example, questions
    from adamergex.train import vocabulary_of

    if config["vocabulary"] == "full":
        return None
    if config["data"]["rows"] != "reference":
        items = questions(config["data"], inputs).items
        rows = [Example(item.prompt, choice) for item in items for choice in item.choices]
    return vocabulary_of(base, rows)


def _asked(config: Config, inputs: Inputs) -> dict[int, str]:
    """The prompt of each line of text that is not blank, by its number."""
    from adamergex.tasks import questions

    found, field = questions(config["data"], inputs), config["data"]["field"]
    rows = zip(found.rows, found.items, strict=True)
    return {i: item.prompt for i, (row, item) in enumerate(rows) if row[field].strip()}


def _training(config: Config, inputs: Inputs, out: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The backbone, the rows, and the options that every training takes."""
    from adamergex.models import backbone_family
    from adamergex.tasks import examples

    family = backbone_family(model_of(config, inputs))
    data = _learnt(config["data"], family)
    _check_reference(data, family)
    labels = read_record(inputs["labels"])["predictions"] if "labels" in inputs else None
    rows = examples(data, inputs, labels)
    classes = None
    if family == "encoder" and rows and rows[0].label is not None:
        classes = _classes(data, inputs)
    base = _base(config, inputs, classes)
    options = {
        "training": config["training"],
        "seed": config["seed"],
        "vocabulary": _vocabulary(config, inputs, base, rows),
        "beneath": inputs["beneath"] / "adapter" if "beneath" in inputs else None,
        "checkpoints": out / CHECKPOINTS,
    }
    return base, rows, options


def _learnt(data: Config, family: str) -> Config:
    """The description with the family's own way of language modelling, where it names none."""
    from adamergex.tasks import PLAIN

    return {**data, "reference": _way_of(family)} if data.get("reference") == PLAIN else data


def _way_of(family: str) -> str:
    """The way of language modelling that is for this family of backbone."""
    from adamergex.tasks import FAMILY_OF

    return next(name for name, learns in FAMILY_OF.items() if learns == family)


def _check_reference(data: Config, family: str) -> None:
    """Raises InputError for a reference task that this family of backbone does not learn."""
    from adamergex.tasks import FAMILY_OF

    reference = data.get("reference")
    if reference is None or FAMILY_OF.get(reference) == family:
        return
    if reference in FAMILY_OF or family == "encoder":
        needed = f"{_way_of(family)}, for an {family}"
        raise InputError("reference", "task", found=reference, needed=needed)


def _classes(data: Config, inputs: Inputs) -> int:
    """How many answers a task has: the size of an encoder's head."""
    from adamergex.tasks import questions

    return len(questions(data, inputs).items[0].choices)
