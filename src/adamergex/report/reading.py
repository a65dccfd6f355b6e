"""results.json as the report takes it: checked once here, trusted everywhere after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adamergex.errors import InputError
from adamergex.report.fields import Count, Lines, Number, Text

__all__ = [
    "RESULTS_FILE",
    "Cost",
    "Relation",
    "Results",
    "Row",
    "Standing",
    "Task",
    "checked",
    "read_results",
]

RESULTS_FILE = "results.json"
_SCHEMAS = (2, 3)  # 2 has intervals of items alone, and no p


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Layer(_Part):
    """One layer of a relation; layer -1 holds the modules outside the layers."""

    layer: int
    cosine: Number | None
    norm_ratio: Number | None


class Relation(_Part):
    """How one combination of adapters lies to another; None where a norm is 0."""

    cosine: Number | None
    norm_ratio: Number | None
    by_layer: list[Layer]


class Geometry(_Part):
    """Of one reference task in one language.

    Attributes:
        references: Rt against Rs.
        divergence_to_task: Rt - Rs against T.
        alignment: Rt - Rs against the target task's own divergence, where that was trained.
    """

    references: Relation
    divergence_to_task: Relation
    alignment: Relation | None = None


class Point(_Part):
    """One setting that was tried, and its score."""

    label: Text
    scale: Number | None = None
    score: Number
    standard_error: Number | None = None


class Run(_Part):
    """One seed of a row; `dev` holds every setting that was tried."""

    seed: int
    score: Number
    setting: Text | None = None
    scale: Number | None = None
    dev: list[Point] | None = None


class Versus(_Part):
    """A difference and the ends of its interval.

    Attributes:
        p: Of no difference; None in results of before.
        p_holm: The same, corrected for the rows of the column; None also for an oracle.
    """

    difference: Number
    low: Number
    high: Number
    p: Number | None = None
    p_holm: Number | None = None


class Score(_Part):
    """A score over n items; the standard error is None where one item gives none."""

    score: Number
    standard_error: Number | None
    n: Count


class Standing(Score):
    """How one method did, in one language or in the mean over several.

    Attributes:
        headline: Whether this is the row to deploy.
        seed_sd: The standard deviation over seeds; None with one seed.
        gap_closed: The share of the way from source-ft to target-ft.
        gap_interval: Its 95% interval.
    """

    method: Text
    variant: Text = ""
    headline: bool = False
    seed_sd: Number | None = None
    versus_source_ft: Versus | None = None
    gap_closed: Number | None = None
    gap_interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None

    @property
    def oracle(self) -> bool:
        """Whether it had what the other rows do without: the target language's labels."""
        return self.method in ("target-ft", "target-ft-fresh")


class Row(Standing):
    """One way to serve one language.

    Attributes:
        metrics: Every metric of the task, that of `score` among them.
    """

    target: Text
    metrics: dict[Text, Number] = {}
    runs: Annotated[list[Run], Field(min_length=1)]


class Mean(Standing):
    """Over the target languages; `n` counts each language's items.

    Attributes:
        deployed_versus: The row to deploy less this one.
    """

    deployed_versus: Versus | None = None


class Task(_Part):
    """One task: its rows and the geometry of its references, by target and reference task.

    Attributes:
        means: Over the target languages, of each method and variant that all of them have.
    """

    task: Text
    metric: Text
    higher_is_better: bool
    n_test: dict[Text, Count]
    chance: Number | None = None
    majority: dict[Text, Number] | None = None
    source_score: Score | None = None
    rows: list[Row]
    means: list[Mean] = []
    geometry: dict[Text, dict[Text, Geometry]] = {}

    def of(self, target: str) -> list[Row]:
        """The rows of one language, in order, oracles last."""
        rows = [row for row in self.rows if row.target == target]
        return sorted(rows, key=lambda row: row.oracle)


class Cost(_Part):
    """What one step took."""

    step: Text
    kind: Text
    seconds: Annotated[Number, Field(ge=0)]
    tokens: Count | None = None
    steps: Count | None = None
    peak_memory: Count | None = None


class Machine(_Part):
    """Where it ran."""

    python: Text | None = None
    platform: Text | None = None
    cpu: Text | None = None
    cores: int | None = None
    memory_gib: Number | None = None
    gpu: Text | None = None
    packages: dict[Text, Text] = {}


class Version(_Part):
    """One of several versions of a package that made steps, and the rows that these are behind."""

    package: Text
    version: Text
    steps: list[Text]
    rows: list[Text]


class Results(_Part):
    """An experiment's results; the schema's text fields are one line of printable text each."""

    recipe: dict[str, Any]
    recipe_text: Lines
    environment: Machine
    commits: dict[Text, Text | None] = {}
    versions: list[Version] = []
    languages: dict[Text, Text]
    source: Text
    targets: list[Text]
    seeds: list[int]
    references: list[Text] = []
    tasks: list[Task]
    costs: list[Cost] = []

    def language(self, code: str) -> str:
        """The name of a language, or its code where it has none."""
        return self.languages.get(code) or code


def read_results(folder: Path) -> Results:
    """Reads the results of a run.

    Raises:
        InputError: results.json is missing, is not JSON, has another schema, or a field does not
            fit; the error names the file and the field.
    """
    path = folder / RESULTS_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        needed = f"{RESULTS_FILE}, which a finished run holds"
        raise InputError(path, found="no such file", needed=needed) from None
    except (ValueError, RecursionError) as error:
        raise InputError(path, found=f"no JSON ({error})", needed="a JSON object") from None
    return checked(document, path)


def checked(document: Any, subject: object = RESULTS_FILE) -> Results:
    """What `document`, the content of a results.json, says.

    Raises:
        InputError: As `read_results` says, with `subject` in the place of the file.
    """
    if not isinstance(document, Mapping):
        raise InputError(subject, found=type(document).__name__, needed="a JSON object")
    if document.get("schema") not in _SCHEMAS:
        found, needed = document.get("schema", "nothing"), " or ".join(map(str, _SCHEMAS))
        raise InputError(subject, "schema", found=found, needed=needed)
    try:
        results = Results.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        found = "nothing" if first["type"] == "missing" else first["input"]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(subject, where, found=found, needed=first["msg"]) from None
    for where, found, needed in _misfits(results):
        raise InputError(subject, where, found=found, needed=needed)
    return results


def _misfits(results: Results) -> Iterator[tuple[str, str, str]]:
    """Where parts that are well by themselves do not fit together: field, found, needed."""
    names = [task.task for task in results.tasks]
    if len(set(names)) < len(names):
        yield "tasks", ", ".join(names), "each task once"
    for i, task in enumerate(results.tasks):
        seen: set[tuple[str, str, str]] = set()
        deployed: set[str] = set()
        for j, row in enumerate(task.rows):
            where = f"tasks.{i}.rows.{j}"
            if row.target not in results.targets:
                yield f"{where}.target", row.target, "one of targets"
            key = (row.target, row.method, row.variant)
            if key in seen:
                yield where, " / ".join(key), "each target, method and variant once"
            seen.add(key)
            if row.headline and row.target in deployed:
                yield f"{where}.headline", "a second one", f"one row to deploy in {row.target}"
            if row.headline:
                deployed.add(row.target)
        means = [(mean.method, mean.variant) for mean in task.means]
        if len(set(means)) < len(means):
            yield f"tasks.{i}.means", "one twice", "each method and variant once"
        if not {*means} <= {(row.method, row.variant) for row in task.rows}:
            yield f"tasks.{i}.means", "one without a row", "methods and variants of the rows"
        if sum(mean.headline for mean in task.means) > 1:
            yield f"tasks.{i}.means", "a second one to deploy", "one row to deploy"
