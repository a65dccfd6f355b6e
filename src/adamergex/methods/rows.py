"""What a method puts into the comparison, and the steps that methods share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adamergex.recipe import Recipe
from adamergex.step import Step
from adamergex.tasks import Data, data

__all__ = ["Method", "Row", "Setting", "Workshop"]


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        scale: How far it is from the task adapter; 0 is the task adapter itself.
        label: The setting, for people.
        adapter: The step whose folder holds the adapter; None for the base model alone.
    """

    scale: float
    label: str
    adapter: Step | None


@dataclass(frozen=True)
class Row:
    """One line of the table for one target language. With several settings, dev chooses.

    Attributes:
        method: The method's name.
        variant: Which of its variants; empty where it has one.
        settings: What to choose from.
        headline: Whether this row is the answer to what to deploy.
    """

    method: str
    variant: str
    settings: tuple[Setting, ...]
    headline: bool = False


class Workshop:
    """Builds the steps that several methods use; the same arguments give the same step."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model = Step("model", {"model": recipe.model}, label="prepare the model")
        self._vocabulary = Step(
            "vocabulary",
            {"model": recipe.model, "data": self._all_data()},
            {"model": self.model},
            label="tokens in use",
        )

    def task_adapter(self, language: str) -> Step:
        """The target task trained in one language with its labels: T in the source language."""
        return self.trained(self.task_data(language, "train"), f"task, {language}")

    def reference(self, name: str, language: str) -> Step:
        """A reference task trained in one language: Rs or Rt."""
        wanted = data(name, language, source=self.recipe.source)
        return self.trained(wanted, f"{name}, {language}", self.recipe.reference_training.get(name))

    def trained(
        self,
        rows: Data,
        label: str,
        overrides: Mapping[str, Any] | None = None,
        labels: Step | None = None,
    ) -> Step:
        """One adapter trained on `rows`, with the labels that another step predicted if given."""
        config = {
            "model": self.recipe.model,
            "adapter": self.recipe.adapter,
            "training": {**self.recipe.training, **(overrides or {})},
            "data": rows,
            "seed": self.recipe.seed,
        }
        inputs = {"model": self.model, "vocabulary": self._vocabulary}
        if labels is not None:
            inputs["labels"] = labels
        return Step("train", config, inputs, label=f"train {label}")

    def scored(self, adapter: Step | None, language: str, split: str, label: str = "") -> Step:
        """An adapter, or the base model, scored on one split of the target task.

        Where dev may have chosen to leave T alone, T's own score is taken and not computed again.
        """
        config = {"model": self.recipe.model, "data": self.task_data(language, split)}
        inputs = {"model": self.model} | ({"adapter": adapter} if adapter else {})
        if adapter is not None and adapter.kind == "select":
            task = self.task_adapter(self.recipe.source)
            inputs["unchanged"] = self.scored(task, language, split, label="T")
        return Step(
            "score", config, inputs, label=f"score {label or 'adapter'}, {language} {split}"
        )

    def task_data(self, language: str, split: str) -> Data:
        """The target task's rows in one language."""
        return data(self.recipe.task, language, split=split, source=self.recipe.source)

    def _all_data(self) -> list[Data]:
        recipe = self.recipe
        references = [
            data(name, language, source=recipe.source)
            for name in sorted(recipe.references)
            for language in sorted({recipe.source, *recipe.targets})  # their order says nothing
        ]
        return [self.task_data(recipe.source, "train"), *references]


class Method(Protocol):
    """A transfer method: which rows it puts into the table of one target language."""

    def __call__(self, shop: Workshop, target: str) -> list[Row]:
        """Its rows."""
        ...
