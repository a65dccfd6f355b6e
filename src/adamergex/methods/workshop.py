"""The steps that methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamergex.checkpoint import pinned
from adamergex.methods.catalog import Catalog
from adamergex.methods.rows import Setting
from adamergex.recipe import Recipe, Reference
from adamergex.step import Step, digest
from adamergex.tasks import DISTILLATION, LABELLED_BY_T, READING, Data, coverage

__all__ = ["Workshop"]


class Workshop:
    """Builds the steps of one task and one seed; the same arguments give the same step.

    Args:
        recipe: The recipe.
        task: One of its tasks.
        seed: One of its seeds.
    """

    def __init__(self, recipe: Recipe, task: str, seed: int) -> None:
        self.recipe = recipe
        self.seed = seed
        self.catalog = Catalog.of(recipe)
        self.task = self.catalog.task(task)
        name, self._model_files = _located(recipe)
        how = recipe.model_kwargs.given()
        loaded = {"model": name, **({"model_kwargs": how} if how else {})}
        chat = recipe.chat()
        self._base = {**loaded, **({"chat": chat} if chat else {})}
        self.model = Step("model", loaded, label="prepare the model", files=self._model_files)

    def task_adapter(self, language: str) -> Step:
        """The target task trained in one language with its labels: T in the source language."""
        rows = self.catalog.rows(self.task, language, "train")
        overrides = self.recipe.training.per_step.task.given()
        return self.trained(rows, f"{self.task.name}, {language}", overrides)

    def reference(self, reference: Reference, language: str) -> Step:
        """A reference task trained in one language: Rs or Rt."""
        overrides = reference.training.given()
        label = f"{reference.title}, {language}"
        if reference.task == DISTILLATION:
            return self._distilled(reference, language, label)
        if reference.task == READING:
            return self._read(reference, language, label)
        if reference.task not in LABELLED_BY_T:
            return self.trained(self.catalog.reference(reference, language), label, overrides)
        own = reference.task == "self-labelled"
        labels = self.labels(reference, language if own else self.recipe.source)
        rows = self.unlabelled(reference, language, projected=not own)
        return self.trained(rows, label, overrides, labels=labels)

    def _distilled(self, reference: Reference, language: str, label: str) -> Step:
        """T trained on, to answer a target prompt as it answers the parallel source one.

        In the source language that is T itself: there is nothing to learn, and Rs is T.
        """
        task = self.task_adapter(self.recipe.source)
        if language == self.recipe.source:
            return task
        rows = self.unlabelled(reference, language, projected=True)
        return self._learnt(reference, rows, label, task, self._taught(reference, language))

    def _read(self, reference: Reference, language: str, label: str) -> Step:
        """An adapter with which the base reads a language as it reads the source language.

        Nothing in it is of a task. In the source language that is the adapter before any training,
        from which T starts, too: the base needs none to read as it does.
        """
        start = self.start()
        if language == self.recipe.source:
            return start
        asked, rows = (
            self.catalog.unlabelled(None, reference, code, projected=True, seed=self.seed)
            for code in (self.recipe.source, language)
        )
        config = {**self._base, "data": asked.config, "vocabulary": "full", "by_choice": False}
        taught = Step(
            "teach",
            config,
            self._inputs(adapter=start),
            label=f"what the base teaches about {self.recipe.source} text",
            files=self._files(asked),
        )
        return self._learnt(reference, rows, label, start, taught)

    def _learnt(
        self, reference: Reference, rows: Data, label: str, start: Step, taught: Step
    ) -> Step:
        """An adapter trained on from `start`, on what is taught about the same rows."""
        known = coverage(rows)
        if known is not None:
            label = f"{label}: the word list has {known:.0%} of the text's words"
        if self.recipe.scale.select == "divergence":
            rows = Data({**rows.config, "part": "learnt"}, rows.files)
        return self._student(rows, label, start, taught, reference.training.given())

    def soft(self, target: str, overrides: Mapping[str, Any]) -> Step:
        """A fresh adapter that learns T's distributions about the first reference's text."""
        reference = self.recipe.reference[0]
        rows = self.unlabelled(reference, target, projected=True)
        label = f"{self.task.name}, projected soft labels, {target}"
        return self._student(rows, label, self.start(), self._taught(reference, target), overrides)

    def _student(
        self, rows: Data, label: str, start: Step, taught: Step, overrides: Mapping[str, Any]
    ) -> Step:
        config = self._training(rows, overrides)
        del config["vocabulary"]  # it is the teacher's
        return Step(
            "distil",
            config,
            self._inputs(start=start, taught=taught),
            label=f"train {label}",
            version=2,
            files=self._files(rows),
            **self._execution(),
        )

    def start(self) -> Step:
        """The adapter that every training of a seed begins with."""
        config = {
            **self._base, "adapter": self.recipe.adapter.fields, "seed": self.seed,
        }  # fmt: skip
        return Step("start", config, self._inputs(), label="the adapter before any training",
                    files=self._model_files)  # fmt: skip

    def _taught(self, reference: Reference, language: str) -> Step:
        """What T has to teach, about the source side of a text or, knowing it, the target side."""
        source = self.recipe.source
        asked = self.unlabelled(reference, source)
        files = self._files(asked)
        config = {
            **self._base,
            "data": asked.config,
            "vocabulary": self.recipe.training.vocabulary,
            # Where choices are other ones in each language, no token is the right one in both.
            "by_choice": not all(
                self.task.same_choices(source, code) for code in reference.languages or (language,)
            ),
        }
        label = f"{self.task.name}: what T teaches about {source} text"
        written = self.labels(reference, source) if self.task.free_text else None
        if written is not None and (reference.answers or self.task.answers) == "target":
            rows = self.unlabelled(reference, language, projected=True)
            config |= {"data": rows.config, "beside": asked.config}
            files |= rows.files
            label = f"{self.task.name}: what T teaches about {language} text beside {source}"
        inputs = self._inputs(adapter=self.task_adapter(source), labels=written)
        return Step("teach", config, inputs, label=label, files=files)

    def unlabelled(self, reference: Reference, language: str, *, projected: bool = False) -> Data:
        """The text of a reference task as questions of the task; see Catalog.unlabelled."""
        return self.catalog.unlabelled(
            self.task, reference, language, projected=projected, seed=self.seed
        )

    def references(self, reference: Reference, target: str) -> dict[str, Step]:
        """T, Rt and Rs by role: what a merge takes."""
        source = self.recipe.source
        return {
            "task": self.task_adapter(source),
            "reference_target": self.reference(reference, target),
            "reference_source": self.reference(reference, source),
        }

    def labels(self, reference: Reference, language: str) -> Step:
        """T's answers to the text of a reference task in one language."""
        asked = self.unlabelled(reference, language)
        label = f"{self.task.name}: T labels {language} text"
        return self.scored(self.task_adapter(self.recipe.source), asked, label)

    def trained(
        self,
        rows: Data,
        label: str,
        overrides: Mapping[str, Any],
        *,
        labels: Step | None = None,
        start: Step | None = None,
        beneath: Step | None = None,
    ) -> Step:
        """One adapter trained on `rows`.

        Args:
            rows: What it learns.
            label: For people.
            overrides: Training arguments other than the recipe's.
            labels: The step whose predictions are the rows' labels.
            start: The step whose adapter is trained on; a fresh one where there is none.
            beneath: The step whose adapter is put on the base first, frozen.
        """
        config = {"adapter": self.recipe.adapter.fields, **self._training(rows, overrides)}
        inputs = self._inputs(labels=labels, start=start, beneath=beneath)
        return Step(
            "train",
            config,
            inputs,
            label=f"train {label}",
            files=self._files(rows),
            **self._execution(),
        )

    def sparse(
        self, rows: Data, label: str, overrides: Mapping[str, Any], beneath: Step | None = None
    ) -> Step:
        """A sparse fine-tuning of the model itself on `rows`."""
        density = self.recipe.training.per_step.lt_sft.density
        config = {"density": density, **self._training(rows, overrides)}
        inputs = self._inputs(beneath=beneath)
        return Step("train-sparse", config, inputs, label=f"fine-tune {label}",
                    files=self._files(rows), execution=self._execution()["execution"])  # fmt: skip

    def scored(
        self,
        adapter: Step | None,
        asked: Data,
        label: str,
        prompting: Mapping[str, Any] | None = None,
    ) -> Step:
        """An adapter's, or the base model's, answers to questions."""
        config = {**self._base, "data": asked.config}
        if prompting:
            config["prompting"] = dict(prompting)
        inputs = {"model": self.model} | ({"adapter": adapter} if adapter else {})
        return Step(
            "score",
            config,
            inputs,
            label=f"score {label}",
            version=_score_version(asked.config["task"]),
            files=self._files(asked),
        )

    def ensembled(self, members: Sequence[Step], asked: Data, label: str) -> Step:
        """The mean of several adapters' answers to questions, each asked by itself."""
        scored = [self.scored(member, asked, f"{label}, one of them") for member in members]
        inputs = {f"member.{i}": step for i, step in enumerate(scored)}
        return Step("ensemble", {"data": asked.config}, inputs, label=label, files=asked.files)

    def diverging(self, adapter: Step, reference: Reference, language: str, label: str) -> Step:
        """How far an adapter's answers are from T's, on rows of a reference that were held out."""
        rows = self.unlabelled(reference, language, projected=True)
        config = {**self._base, "data": {**rows.config, "part": "held"}}
        inputs = self._inputs(adapter=adapter, taught=self._taught(reference, language))
        return Step("diverge", config, inputs, label=f"score {label}", files=self._files(rows))

    def settings(self, make: Callable[[float], Step]) -> tuple[Setting, ...]:
        """T, and what `make` makes of it at each scale; or at the one scale that is fixed."""
        scales = self.recipe.scale
        task = self.task_adapter(self.recipe.source)
        wanted = scales.grid if scales.select == "fixed" else (0.0, *scales.values)
        return tuple(Setting(t, f"t={t:g}", make(t) if t else task) for t in wanted)

    def _training(self, rows: Data, overrides: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **self._base,
            "training": {**self.recipe.training.given(), **overrides},
            "vocabulary": self.recipe.training.vocabulary,
            "data": rows.config,
            "seed": self.seed,
        }

    def _execution(self) -> dict[str, Any]:
        """How trainings are carried out, which is no part of their identity."""
        return self.recipe.parallel.model_dump() | {"execution": self.recipe.training.execution()}

    def _inputs(self, **given: Step | None) -> dict[str, Step]:
        return {"model": self.model, **{role: step for role, step in given.items() if step}}

    def _files(self, *wanted: Data) -> dict[str, Path]:
        return self._model_files | {sha: at for data in wanted for sha, at in data.files.items()}


def _score_version(task: Mapping[str, Any]) -> int:
    """2 where a score of before would be another now.

    Measures of free answers part words otherwise, and where acc_norm or acc_bytes is the metric the
    choice that counts as the answer is its own.
    """
    first = next((entry.get("metric") for entry in task["metric_list"]), None)
    return 2 if task.get("process_results") or first in ("acc_norm", "acc_bytes") else 1


def _located(recipe: Recipe) -> tuple[str, dict[str, Path]]:
    """The model as a step's config has it: by a digest of what is there, or by its commit."""
    local = recipe.folder / recipe.model
    if not local.exists():
        return pinned(recipe.model), {}
    found = digest(local)
    return found, {found: local.resolve()}
