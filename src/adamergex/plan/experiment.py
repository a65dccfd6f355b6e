"""From a recipe to the one step that needs all the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adamergex.methods import METHODS, Row, Workshop
from adamergex.plan.checks import check
from adamergex.recipe import Recipe
from adamergex.step import Step
from adamergex.tasks import ACROSS, Data, language_name

__all__ = ["planned"]

_BY = {"dev": "score", "unlabelled": "confidence", "divergence": "divergence"}
"""scale.select -> what `select` compares."""


def planned(recipe: Recipe) -> Step:
    """The step `results`, whose inputs are the whole experiment.

    Dev questions go into `select` steps, which hand on the adapter that they chose; test questions
    go into `results` and nowhere else.

    Raises:
        InputError: A method, a task, a split, a text or a file that there is not; see also checks.
    """
    check(recipe)
    tasks: list[dict[str, Any]] = []
    inputs: dict[str, Step] = {}
    for task in recipe.tasks:
        found = _Table(recipe, task)
        tasks.append(found.config)
        inputs |= found.inputs
    config = {
        "source": recipe.source,
        "targets": list(recipe.targets),
        "seeds": list(recipe.seed),
        "references": [reference.title for reference in recipe.reference],
        "select": recipe.scale.select,
        "tasks": tasks,
    }
    return Step("results", config, inputs, label="results", version=3)


class _Table:
    """One task's part of the results: its rows, and the steps that their numbers come from."""

    def __init__(self, recipe: Recipe, task: str) -> None:
        self.recipe = recipe
        self.inputs: dict[str, Step] = {}
        self._rows: list[dict[str, Any]] = []
        self._shops = [Workshop(recipe, task, seed) for seed in recipe.seed]
        self._name = self._shops[0].task.name
        for shop in self._shops:
            for method in recipe.methods:
                rows = {target: METHODS[method](shop, target) for target in recipe.targets}
                for target in recipe.targets:
                    for i in range(len(rows[target])):
                        self._add(shop, target, {code: rows[code][i] for code in rows})
        self._add_source()
        self._geometry = self._add_geometry()

    @property
    def config(self) -> dict[str, Any]:
        """What `results` must know to read its inputs."""
        return {"task": self._name, "rows": self._rows, "geometry": self._geometry}

    def _add(self, shop: Workshop, target: str, alike: Mapping[str, Row]) -> None:
        """One row: that of `target` among the same row of every target."""
        row = alike[target]
        key = f"{self._name}.{len(self._rows)}"
        self._rows.append(
            {
                "key": key,
                "target": target,
                "method": row.method,
                "variant": row.variant,
                "headline": row.headline,
                "seed": shop.seed,
            }
        )
        adapter = row.settings[0].adapter
        label = " ".join(filter(None, (row.method, row.variant)))
        unchanged = None
        if len(row.settings) > 1:
            adapter = self.inputs[f"select.{key}"] = self._selected(shop, target, alike)
            unchanged = row.settings[0].adapter
        asked = shop.catalog.rows(shop.task, target, "test")
        self.inputs[f"test.{key}"] = self._scored(
            shop, row, adapter, asked, target, label, unchanged
        )

    def _scored(
        self,
        shop: Workshop,
        row: Row,
        adapter: Step | None,
        asked: Data,
        target: str,
        label: str,
        unchanged: Step | None = None,
    ) -> Step:
        if row.members:
            return shop.ensembled(row.members, asked, f"{label}, {target}")
        prompting = (
            {"kind": row.prompting, "language": language_name(target),
             "retell_in": language_name(self.recipe.source)}
            if row.prompting
            else None
        )  # fmt: skip
        step = shop.scored(adapter, asked, f"{label}, {target}", prompting)
        if unchanged is None:
            return step
        # Where T was left alone, its own score is taken and not computed again.
        same = shop.scored(unchanged, asked, f"T, {target}")
        return replace(step, inputs={**step.inputs, "unchanged": same})

    def _selected(self, shop: Workshop, target: str, alike: Mapping[str, Row]) -> Step:
        """The choice among a row's settings, by the scores in `target` or in all languages."""
        per_language = self.recipe.scale.per == "language"
        languages = [target] if per_language else list(self.recipe.targets)
        row = alike[target]
        inputs: dict[str, Step] = {}
        for i, setting in enumerate(row.settings):
            assert setting.adapter is not None
            inputs[f"adapter.{i}"] = setting.adapter
            for language in languages:
                adapter = alike[language].settings[i].adapter
                label = f"{setting.label} for choosing, {language}"
                inputs[f"dev.{language}.{i}"] = self._standing(shop, adapter, language, label)
        config = {
            "by": _BY[self.recipe.scale.select],
            "languages": languages,
            "scales": [setting.scale for setting in row.settings],
            "labels": [setting.label for setting in row.settings],
        }
        label = f"choose {row.method} {row.variant}, {target}"
        return Step("select", config, inputs, label, version=1 if per_language else 2)

    def _standing(self, shop: Workshop, adapter: Step | None, language: str, label: str) -> Step:
        """What a setting is chosen, or left, by in one language."""
        if self.recipe.scale.select != "divergence":
            return shop.scored(adapter, self._to_choose_by(shop, language), label)
        assert adapter is not None
        across = next(r for r in self.recipe.reference if r.task in ACROSS)
        return shop.diverging(adapter, across, language, label)

    def _to_choose_by(self, shop: Workshop, language: str) -> Data:
        """Dev questions; without their answers where no label may be used."""
        dev = shop.catalog.find(shop.task, language, "dev")
        if self.recipe.scale.select == "dev":
            return dev or shop.catalog.rows(shop.task, language, "dev")
        if dev is None:
            return shop.unlabelled(self.recipe.reference[0], language)
        return Data({**dev.config, "labelled": False}, dev.files)

    def _add_source(self) -> None:
        """T in its own language, where the task can be measured there."""
        for shop in self._shops:
            asked = shop.catalog.find(shop.task, self.recipe.source, "test")
            if asked is not None:
                adapter = shop.task_adapter(self.recipe.source)
                step = shop.scored(adapter, asked, f"T, {self.recipe.source}")
                self.inputs[f"source.{self._name}.{shop.seed}"] = step

    def _add_geometry(self) -> list[dict[str, str]]:
        """How each divergence lies to T, and to that of the target task where that is trained."""
        if "adamergex" not in self.recipe.methods:
            return []
        shop, found = self._shops[0], list[dict[str, str]]()
        for target in self.recipe.targets:
            for reference in self.recipe.reference:
                inputs = shop.references(reference, target)
                if "target-ft" in self.recipe.methods:
                    (oracle,) = METHODS["target-ft"](shop, target)
                    assert oracle.settings[0].adapter is not None
                    inputs["oracle"] = oracle.settings[0].adapter
                key = f"geometry.{self._name}.{target}.{reference.title}"
                label = f"geometry {reference.title}, {target}"
                self.inputs[key] = Step("geometry", {}, inputs, label=label)
                found.append({"key": key, "target": target, "reference": reference.title})
        return found
