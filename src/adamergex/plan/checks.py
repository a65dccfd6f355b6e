"""What is known to fail, said before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from adamergex.errors import InputError
from adamergex.methods import METHODS, Catalog
from adamergex.recipe import Recipe
from adamergex.tasks import (
    ACROSS,
    DISTILLATION,
    FROM_T,
    READING,
    REFERENCES,
    Task,
    coverage,
    sliced,
)

__all__ = ["check"]

_EXTRAS = ("use_dora", "lora_bias", "bias")
_REFUSED = {
    # What adapters may not have, method by method.
    "arimerge": (*_EXTRAS, "rank_pattern"),
    "add-reference": _EXTRAS,
    "layer-swapping": _EXTRAS,
    "language-task-arithmetic": _EXTRAS,
    "madx": (*_EXTRAS, "modules_to_save"),
}


def check(recipe: Recipe) -> None:
    """Raises InputError for a recipe that could not be carried out to the end.

    Or that would choose by test items: dev and test of a target language share no row.
    """
    for name in recipe.methods:
        if name not in METHODS:
            raise InputError("methods", found=name, needed=" or ".join(METHODS))
    catalog = Catalog.of(recipe)
    tasks = [catalog.task(name) for name in recipe.tasks]
    twice = [name for name, count in Counter(task.name for task in tasks).items() if count > 1]
    if twice:
        raise InputError("tasks", found=f"{twice[0]} twice", needed="names that differ")
    _check_data_files(recipe, catalog, tasks)
    _check_base(recipe)
    _check_execution(recipe)
    _check_methods(recipe)
    _check_head(recipe)
    _check_references(recipe)
    _check_held_out(recipe)
    for task in tasks:
        if recipe.training.vocabulary == "in-use" and task.free_text:
            needed = f"full: {task.name} is answered in free text"
            raise InputError("training", "vocabulary", found="in-use", needed=needed)
        if recipe.scale.select == "unlabelled" and task.free_text:
            needed = f"dev or fixed: answers to {task.name} in free text have no likelihood"
            raise InputError("scale", "select", found="unlabelled", needed=needed)
        if "ensemble" in recipe.methods:
            _check_averaged(task)
        dev = recipe.scale.select != "fixed" or "few-shot" in recipe.methods
        for target in recipe.targets if dev else ():
            _check_apart(catalog, task, target)
    for task in tasks:
        _check_answers(recipe, task)
        _check_texts(recipe, catalog, task)


def _check_data_files(recipe: Recipe, catalog: Catalog, tasks: list[Task]) -> None:
    """A name that nothing reads would leave the Hub's data in use without a word."""
    read = {task.name for task in tasks}
    read |= {catalog.task(r.task).name for r in recipe.reference if r.task not in REFERENCES}
    for name in recipe.data_files:
        if name not in read:
            raise InputError("data_files", found=name, needed=" or ".join(sorted(read)))


def _check_base(recipe: Recipe) -> None:
    """What a base model that is not in float32, or is quantised, cannot do."""
    how = recipe.model_kwargs
    changing = {"madx", "lt-sft"} & {*recipe.methods}
    if changing and not how.plain:
        needed = f"dtype float32 and no quantization, for {min(changing)}: it changes weights"
        raise InputError("model_kwargs", found=how.given(), needed=needed)
    if how.quantization is not None and recipe.parallel.shard:
        needed = "none, where parallel.shard divides the weights"
        raise InputError("model_kwargs", "quantization", found=how.quantization, needed=needed)


def _check_execution(recipe: Recipe) -> None:
    """How trainings are carried out, where that is not for every adapter or machine."""
    if recipe.training.gradient_checkpointing and recipe.adapter.type == "prefix":
        needed = "false, for a prefix: it is a cache, which layers that are run again have not"
        raise InputError("training", "gradient_checkpointing", found=True, needed=needed)
    for name in recipe.training.report_to:
        places = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
        if not any(find_spec(place) for place in places):
            needed = f"it installed: pip install {name}"
            raise InputError("training", "report_to", found=name, needed=needed)


def _check_methods(recipe: Recipe) -> None:
    fields = recipe.adapter.fields
    if fields.get("target_parameters"):
        found = fields["target_parameters"]
        needed = "none: PEFT stacks experts' factors by expert in A, by rank in B, unlike layers'"
        raise InputError("adapter", "target_parameters", found=found, needed=needed)
    if "madx" in recipe.methods and fields["type"] != "lora":
        raise InputError("adapter", "type", found=fields["type"], needed="lora, for madx")
    for method in recipe.methods:
        for name in _REFUSED.get(method, ()):
            if fields.get(name) not in (None, False, "none", {}):
                raise InputError("adapter", name, found=fields[name], needed=f"none, for {method}")
    adding = {"add-reference", "arimerge", "language-task-arithmetic"} & {*recipe.methods}
    if adding and recipe.reference[0].task == DISTILLATION:
        needed = f"another first, for {min(adding)}: this one has T in it, which would count twice"
        raise InputError("reference", "task", found=DISTILLATION, needed=needed)
    outside = [t for t in recipe.scale.grid if not 0 <= t <= 1]
    if "layer-swapping" in recipe.methods and outside:
        needed = "0 to 1, a share of the layers, for layer-swapping"
        raise InputError("scale", "grid", found=outside[0], needed=needed)


def _check_head(recipe: Recipe) -> None:
    """What an encoder's fresh adapter lacks, where the model is known before it is loaded."""
    if "projection-soft" not in recipe.methods or recipe.model.startswith("builtin:"):
        return
    place, family = recipe.folder / recipe.model, None
    with suppress(Exception):  # of many kinds, and the step that loads the model says it better
        from adamergex.models import backbone_family

        family = backbone_family(str(place) if place.exists() else recipe.model)
    if family == "encoder":
        needed = "projection-from-t, for an encoder: a fresh adapter has no head of T's"
        raise InputError("methods", found="projection-soft", needed=needed)


def _check_references(recipe: Recipe) -> None:
    """What a reference task takes in the place of text in the target language."""
    for reference in recipe.reference:
        takers = {"items": FROM_T, "words": ACROSS, "languages": ACROSS, "prompts": (READING,)}
        for key, tasks in takers.items():
            if getattr(reference, key) and reference.task not in tasks:
                needed = " or ".join(tasks)
                raise InputError("reference", key, "task", found=reference.task, needed=needed)
        if recipe.source in reference.languages:
            needed = "languages other than the source"
            raise InputError("reference", "languages", found=recipe.source, needed=needed)


def _check_averaged(task: Task) -> None:
    """What an ensemble's members give: the likelihood of each choice, and nothing else."""
    metrics: list[dict[str, Any]] = task.config.get("metric_list") or []
    if task.free_text or any(entry.get("metric") == "exact_match" for entry in metrics):
        needed = f"another, for {task.name}: what is averaged is how likely each choice is"
        raise InputError("methods", found="ensemble", needed=needed)


def _check_answers(recipe: Recipe, task: Task) -> None:
    """Which answers of T's are learnt."""
    for reference in recipe.reference:
        if reference.answers is None:
            continue
        if reference.task != DISTILLATION:
            found, needed = reference.task, DISTILLATION
            raise InputError("reference", "answers", "task", found=found, needed=needed)
        if not task.free_text:
            needed = f"none: {task.name} is answered by a choice"
            raise InputError("reference", "answers", found=reference.answers, needed=needed)
        if (reference.answers, task.answers) == ("source", "target"):
            needed = f"target: answers to {task.name} are in the language of the question"
            raise InputError("reference", "answers", found=reference.answers, needed=needed)


def _check_held_out(recipe: Recipe) -> None:
    """What T is compared with where no label is to choose t by."""
    across = any(reference.task in ACROSS for reference in recipe.reference)
    if recipe.scale.select == "divergence" and not across:
        needed = f"a reference of {' or '.join(ACROSS)} for it"
        raise InputError("scale", "select", found="divergence", needed=needed)


def _check_texts(recipe: Recipe, catalog: Catalog, task: Task) -> None:
    """Reads the texts that T is to read, before it is trained: those that are on this machine."""
    first = recipe.reference[0]
    projecting = any(method.startswith(("projection", "ensemble")) for method in recipe.methods)
    for reference in recipe.reference:
        projected = reference is first and projecting
        if reference.task not in (REFERENCES if projected else (READING, *FROM_T)):
            continue
        across = projected or reference.task in ACROSS
        asks = [None] if reference.task == READING else []
        compared = projected or recipe.scale.select == "divergence"
        for asked in [*asks, task] if compared else asks or [task]:
            for language in (recipe.source, *recipe.targets):
                coverage(catalog.unlabelled(asked, reference, language, projected=across))
    if first.languages and recipe.scale.select == "unlabelled":
        for target in recipe.targets:
            if catalog.find(task, target, "dev") is None:
                needed = f"dev or fixed, or dev items of {task.name} in {target}, without labels"
                raise InputError("scale", "select", found="unlabelled", needed=needed)


def _check_apart(catalog: Catalog, task: Task, target: str) -> None:
    dev, test = (catalog.find(task, target, split) for split in ("dev", "test"))
    if dev is None or test is None:
        return
    (one, a, b), (two, c, d) = (_rows(data.config["source"]) for data in (dev, test))
    if one == two and (b is None or (c or 0) < b) and (d is None or (a or 0) < d):
        found, needed = "dev and test with rows in common", "rows a to b of one of them: path[a:b]"
        raise InputError(task.name, target, found=found, needed=needed)


def _rows(source: Mapping[str, Any]) -> tuple[dict[str, Any], int | None, int | None]:
    """What rows are taken from, and which: from a number to another."""
    whole = {key: value for key, value in source.items() if key != "part"}
    part = source.get("part")
    if "split" in source:
        whole["split"], part = sliced(source["split"])
    start, stop = part or (None, None)
    return whole, start, stop
