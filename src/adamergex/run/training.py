"""The steps that train, and what a teacher hands on; see run.functions."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.run.store import CHECKPOINTS, read_record
from adamergex.step import Step

__all__ = [
    "Config",
    "Inputs",
    "Record",
    "carrying_out",
    "distil",
    "diverge",
    "model_of",
    "start",
    "teach",
    "train",
    "train_sparse",
]

Config = Mapping[str, Any]
Inputs = Mapping[str, Path]
Record = dict[str, Any]

TAUGHT = "taught.safetensors"

_PLAIN = Step("", {})
_STEP: ContextVar[Step] = ContextVar("step", default=_PLAIN)


@contextmanager
def carrying_out(step: Step) -> Generator[None]:
    """Has trainings within it go by what a step says outside of its config.

    That is what local models are called, by their SHA-256, and arguments that change no result.
    """
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


def model_of(config: Config, inputs: Inputs) -> str:
    """The model's name, or where it lies: a local one is known by its digest."""
    return str(inputs.get(config["model"], config["model"]))


def _base(config: Config, inputs: Inputs, classes: int | None = None) -> Any:
    """The base model, under the name by which adapters are to know it."""
    from adamergex.models import backbone

    base = backbone(model_of(config, inputs), classes, config.get("model_kwargs"))
    name = _STEP.get().names.get(config["model"])
    if name is not None:
        base.model.name_or_path = base.model.config.name_or_path = name
    return base.chatting(config.get("chat"))


def train(config: Config, inputs: Inputs, out: Path) -> Record:
    """One adapter, in out/adapter."""
    from adamergex.train import train_adapter

    base, rows, options = _training(config, inputs, out)
    start = inputs["start"] / "adapter" if "start" in inputs else None
    record = train_adapter(
        base, rows, out / "adapter", adapter=config["adapter"], start=start, **options
    )
    if start is not None:
        record["init_sha256"] = read_record(inputs["start"])["init_sha256"]
    return record


def train_sparse(config: Config, inputs: Inputs, out: Path) -> Record:
    """A sparse fine-tuning, in out/adapter."""
    from adamergex.train import train_sparse as trained

    base, rows, options = _training(config, inputs, out)
    return trained(base, rows, out / "adapter", density=config["density"], **options)


def start(config: Config, inputs: Inputs, out: Path) -> Record:
    """The adapter that trainings of a seed begin with, in out/adapter."""
    from adamergex.train import untrained

    base = _base(config, inputs)
    return {"init_sha256": untrained(base, config["adapter"], config["seed"], out / "adapter")}


def teach(config: Config, inputs: Inputs, out: Path) -> Record:
    """How T would answer the text of a reference task, in out/taught.safetensors."""
    from adamergex.score import generations, taught, write_taught
    from adamergex.tasks import asked, beside

    found = asked(config["data"], inputs)
    answers = None
    if "labels" in inputs:
        written = read_record(inputs["labels"])["predictions"]
        if "beside" in config:
            source = asked(config["beside"], inputs)
            found = beside(found, source, source.answered(written))
        else:
            own = found.answered(written)
            answers = [found.completion(own[line]) for line in found.items]
    items = list(found.items.values())
    base = _asking(config, inputs, items)
    with base.adapted(inputs["adapter"] / "adapter") as model:
        if answers is None and items and not items[0].choices:
            answers = [found.completion(text) for text in generations(base, model, items)]
        learnt = taught(
            base,
            model,
            items,
            answers=answers,
            vocabulary=_used(config, base, items),
            by_choice=config["by_choice"],
        )
    size = write_taught(learnt, list(found.items), out / TAUGHT)
    return {"n": len(learnt), "bytes": size}


def distil(config: Config, inputs: Inputs, out: Path) -> Record:
    """T trained on until it reads another language as it reads its own, in out/adapter."""
    from adamergex.train import distil as distilled

    items, learnt, known = _pairs(config, inputs)
    record = distilled(
        _asking(config, inputs, items),
        items,
        learnt,
        out / "adapter",
        start=inputs["start"] / "adapter",
        training=_arguments(config, out),
        seed=config["seed"],
        checkpoints=out / CHECKPOINTS,
    )
    known = {} if known is None else {"coverage": known}
    return {**record, **known, "init_sha256": read_record(inputs["start"])["init_sha256"]}


def diverge(config: Config, inputs: Inputs, out: Path) -> Record:  # noqa: ARG001
    """How far an adapter's answers are from those that T has to teach."""
    from adamergex.train import divergence

    items, learnt, _ = _pairs(config, inputs)
    if not items:
        needed = "at least one: 10 lines, or more, of which a tenth is held out"
        raise InputError("scale", "select", "held-out rows", found=0, needed=needed)
    base = _asking(config, inputs, items)
    with base.adapted(inputs["adapter"] / "adapter") as model:
        return {"n": len(items), "divergence": divergence(base, model, items, learnt)}


def _pairs(config: Config, inputs: Inputs) -> tuple[list[Any], Any, float | None]:
    """What is asked, and what T teaches about the same rows; the coverage of a word list."""
    from adamergex.score import read_taught
    from adamergex.tasks import asked

    found = asked(config["data"], inputs)
    learnt, lines = read_taught(inputs["taught"] / TAUGHT)
    pairs = [(found.items[line], k) for k, line in enumerate(lines) if line in found.items]
    return [item for item, _ in pairs], learnt.of([k for _, k in pairs]), found.coverage


def _asking(config: Config, inputs: Inputs, items: list[Any]) -> Any:
    """The backbone that is asked them: an encoder has a head of as many classes as choices."""
    from adamergex.models import backbone_family

    encoder = backbone_family(model_of(config, inputs)) == "encoder" and items
    return _base(config, inputs, len(items[0].choices) if encoder else None)


def _used(config: Config, base: Any, items: list[Any]) -> list[int] | None:
    """The tokens of the softmax: all, or those that the choices of these items use."""
    from adamergex.tasks import Example
    from adamergex.train import vocabulary_of

    if config["vocabulary"] == "full":
        return None
    rows = [Example(item.prompt, choice) for item in items for choice in item.choices]
    return vocabulary_of(base, rows)


def _vocabulary(config: Config, inputs: Inputs, base: Any, rows: list[Any]) -> list[int] | None:
    """The tokens of the softmax: all, or those that these rows' completions, or choices, use."""
    from adamergex.tasks import asked
    from adamergex.train import vocabulary_of

    if config["vocabulary"] == "full":
        return None
    if config["data"]["rows"] != "reference":
        items = asked(config["data"], inputs).items
        return _used(config, base, list(items.values()))
    return vocabulary_of(base, rows)


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
        "training": _arguments(config, out),
        "seed": config["seed"],
        "vocabulary": _vocabulary(config, inputs, base, rows),
        "beneath": inputs["beneath"] / "adapter" if "beneath" in inputs else None,
        "checkpoints": out / CHECKPOINTS,
    }
    return base, rows, options


def _arguments(config: Config, out: Path) -> dict[str, Any]:
    """What a step's config says of the training, and what is said outside of it."""
    step = _STEP.get()
    found = {**config["training"], **step.execution}
    if "report_to" in found:
        found |= {"run_name": step.label, "logging_dir": str(out / "tensorboard")}
    return found


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
    from adamergex.tasks import asked

    return len(next(iter(asked(data, inputs).items.values())).choices)
