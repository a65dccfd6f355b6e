"""Which rows each task, reference task and split means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.recipe import DataFiles, Recipe, Reference, Samples
from adamergex.tasks import (
    FAMILY_OF,
    FROM_T,
    PLAIN,
    REFERENCES,
    Data,
    Source,
    Task,
    check_fields,
    check_lines,
    file_source,
    find_task,
    language_name,
    prompting,
    task_source,
    text_source,
    word_source,
)

__all__ = ["Catalog"]

_SPLITS = {"train": "training_split", "dev": "validation_split", "test": "test_split"}
_OWN = ("dataset_path", "dataset_name", "dataset_kwargs", "metadata", "tag", *_SPLITS.values())
"""Keys that say where rows are, which a description says in its own way."""


class Catalog:
    """Data descriptions.

    Args:
        source: The source language, which translation is into.
        folder: Where relative paths start.
        data_files: Task -> local files in place of its data set.
        max_samples: The most rows of each split.
        bad_rows: `refuse` or `skip`, see Recipe.
    """

    def __init__(
        self,
        source: str,
        folder: Path,
        data_files: Mapping[str, DataFiles] | None = None,
        max_samples: Samples | None = None,
        bad_rows: str = "refuse",
    ) -> None:
        self.source = source
        self.folder = folder
        self.data_files = data_files or {}
        self.max_samples = max_samples or Samples()
        self.bad_rows = bad_rows

    @classmethod
    def of(cls, recipe: Recipe) -> Catalog:
        """The data of a recipe."""
        return cls(
            recipe.source, recipe.folder, recipe.data_files, recipe.max_samples, recipe.bad_rows
        )

    def task(self, name: str) -> Task:
        """A built-in task by its name, or one by its path."""
        return find_task(name, self.folder)

    def find(self, task: Task, language: str, split: str) -> Data | None:
        """One split of a task in one language; None where there is no such split.

        Raises:
            InputError: The task is not there in that language; a file that is not there.
        """
        config = task.in_language(language, training=split == "train")
        source = self._source(task, config, language, split)
        if source is None:
            return None
        found, files = source
        asked = {key: value for key, value in config.items() if key not in _OWN}
        most = getattr(self.max_samples, split)
        description = {"rows": "task", "task": asked, "source": found, "max_samples": most}
        return Data(description | self._skipping, files)

    @property
    def _skipping(self) -> dict[str, str]:
        """What a description says of rows that do not fit: nothing where they are refused."""
        return {} if self.bad_rows == "refuse" else {"bad_rows": self.bad_rows}

    def rows(self, task: Task, language: str, split: str) -> Data:
        """The same, where there must be one."""
        found = self.find(task, language, split)
        if found is None:
            needed = f"one: see data_files.{task.name}.{split}"
            if split == "dev":
                needed += "; scale.select: fixed needs none, but for few-shot"
            raise InputError(task.name, f"{split} split in {language}", found="none", needed=needed)
        return found

    def unlabelled(
        self,
        task: Task | None,
        reference: Reference,
        language: str,
        *,
        projected: bool = False,
        seed: int = 0,
    ) -> Data:
        """The text of a reference task as questions, without answers.

        In a target language it is what the reference says there is of it: its own text, the source
        text with words replaced, or text of other languages.

        Args:
            task: What is asked; None for the reference's own prompts, of no task.
            reference: Whose text.
            language: In which language.
            projected: Whether the answers will be those to the source text, line by line.
            seed: Of what is drawn from a word list.

        Raises:
            InputError: Text without a column that the prompts need.
        """
        codes = (language,) if language == self.source else reference.languages or (language,)
        parts = [
            self._swapped(task, reference, asked, code, seed)
            if reference.words is not None and code != self.source
            else self._questions(
                task, reference, asked, code, projected or bool(reference.languages)
            )
            for code in codes
            for asked in self._asked(task, reference, code)
        ]
        if len(parts) == 1:
            return parts[0]
        files = {sha: path for part in parts for sha, path in part.files.items()}
        return Data({"rows": "dealt", "of": [part.config for part in parts]}, files)

    def _asked(
        self, task: Task | None, reference: Reference, language: str
    ) -> list[dict[str, Any]]:
        """What a task asks in a language, or each of the prompts that are of no task."""
        if task is None:
            return prompting(reference.prompts, language_name(self.source))
        config = task.in_language(language)
        return [{key: value for key, value in config.items() if key not in _OWN}]

    def _questions(
        self,
        task: Task | None,
        reference: Reference,
        asked: Mapping[str, Any],
        language: str,
        parallel: bool,
    ) -> Data:
        """What is asked about a language's text, its items, or the task's own training rows."""
        lines = reference.items is None and (reference.text or not reference.words)
        if task is None or lines:
            check_lines(asked, reference.field[0])
            description = {"rows": "unlabelled", "task": asked, "field": reference.field[0]}
            description["lines"], files = self._lines(reference, language)
            if parallel and language != self.source:
                description["source_lines"], more = self._lines(reference, self.source)
                files |= more
            return Data(description, files)
        most = reference.max_samples
        description = {"rows": "task", "task": asked, "labelled": False, "max_samples": most}
        if reference.items is None:
            own = self.rows(task, self.source, "train")
            both = (n for n in (most, own.config["max_samples"]) if n is not None)
            description |= {"source": own.config["source"], "max_samples": min(both, default=None)}
            return Data(description | self._skipping, dict(own.files))
        description["source"], files = self._items(reference.items, language)
        if parallel and language != self.source:
            description["source_rows"], more = self._items(reference.items, self.source)
            files |= more
        return Data(description, files)

    def _items(
        self, items: str | Mapping[str, str], language: str
    ) -> tuple[Source, dict[str, Path]]:
        path = _for_language(items, language)
        if path is None:
            raise InputError("reference", "items", found=f"none for {language}", needed="some")
        source, where = file_source(path.replace("{language}", language), self.folder)
        return source, {source["file"]: where}

    def _swapped(
        self,
        task: Task | None,
        reference: Reference,
        asked: Mapping[str, Any],
        language: str,
        seed: int,
    ) -> Data:
        """The source text, asked in another language, with words of that language in it."""
        path = _for_language(reference.words or {}, language)
        if path is None:
            raise InputError("reference", "words", found=f"none for {language}", needed="a file")
        source, files = word_source(path.replace("{language}", language), self.folder)
        check_fields(asked, reference.field)
        text = self._questions(task, reference, asked, self.source, False)
        swap = {
            "source": source,
            "fields": list(reference.field),
            "share": reference.share,
            "seed": seed,
            "language": language_name(self.source),
        }
        return Data({**text.config, "words": swap}, {**text.files, **files})

    def reference(self, reference: Reference, language: str) -> Data:
        """The rows of a reference task in one language, but those learnt from T.

        Raises:
            InputError: A reference task that there is not, or that lacks its text.
        """
        name = reference.task
        assert name not in FROM_T
        if name not in REFERENCES:
            return self._labelled(reference, language)
        description: dict[str, Any] = {"rows": "reference", "reference": name}
        description["lines"], files = self._lines(reference, language)
        if name == "translation":
            source = self.source
            description["source_lines"], more = self._lines(reference, source)
            description["into"] = language_name(source)
            files |= more
            if language == source:
                description["counterpart"] = reference.counterpart
                if reference.counterpart == "paraphrase":
                    description["lines"], more = self._paraphrases(reference, source)
                    files |= more
        return Data(description, files)

    def plain(self, reference: Reference, language: str) -> Data:
        """The text of a reference task to be learnt as it is: what a language adapter learns."""
        how = reference.task if reference.task in FAMILY_OF else PLAIN
        text, files = self._lines(reference, language)
        return Data({"rows": "reference", "reference": how, "lines": text}, files)

    def _labelled(self, reference: Reference, language: str) -> Data:
        """A reference task that has labels in both languages."""
        found = self.rows(find_task(reference.task, self.folder), language, "train")
        return Data({**found.config, "max_samples": reference.max_samples}, found.files)

    def _lines(self, reference: Reference, language: str) -> tuple[dict[str, Any], dict[str, Path]]:
        if reference.text is None:
            ways = "text, items or words" if reference.task in FROM_T else "text"
            raise InputError(
                "reference", "text", found="none", needed=f"{ways} for {reference.task}"
            )
        return self._text(reference, reference.text, language)

    def _paraphrases(
        self, reference: Reference, language: str
    ) -> tuple[dict[str, Any], dict[str, Path]]:
        if reference.paraphrases is None:
            raise InputError("reference", "paraphrases", found="none", needed="a text or a file")
        return self._text(reference, reference.paraphrases, language)

    def _text(
        self, reference: Reference, text: str | Mapping[str, str], language: str
    ) -> tuple[dict[str, Any], dict[str, Path]]:
        path = _for_language(text, language)
        if path is None:
            raise InputError("reference", "text", found=f"none for {language}", needed="one")
        source, files = text_source(path, language, self.folder, quoting=reference.quoting)
        column = reference.column.replace("{language}", language)
        found = {"source": source, "column": column, "max_samples": reference.max_samples}
        return found | self._skipping, files

    def _source(
        self, task: Task, config: Mapping[str, Any], language: str, split: str
    ) -> tuple[Source, dict[str, Path]] | None:
        local = self.data_files.get(task.name)
        if local is not None:
            path = _for_language(getattr(local, split) or {}, language)
            if path is None:
                return None
            filled = path.replace("{language}", language)
            found, where = file_source(filled, self.folder, local.columns, local.quoting)
            return found, {found["file"]: where}
        name = config.get(_SPLITS[split])
        if name is None:
            return None
        task.check_rows(language)
        return task_source(config, name), {}


def _for_language(paths: str | Mapping[str, str], language: str) -> str | None:
    return paths if isinstance(paths, str) else paths.get(language, paths.get("*"))
