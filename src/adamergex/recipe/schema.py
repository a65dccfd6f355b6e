"""What a recipe may say: a typed model of the YAML file, every key of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from adamergex.recipe.bases import ModelKwargs
from adamergex.recipe.training import Parallel, Section, Trainer, Training

__all__ = [
    "Adapter",
    "DataFiles",
    "Merge",
    "Parallel",
    "Recipe",
    "Reference",
    "Samples",
    "Scale",
    "Training",
]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("printable characters")
    return text


_Name = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_printable)]
_Paths = _Name | dict[str, _Name]
_Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]

_Quoting = Literal["csv", "none"] | None


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Adapter(BaseModel):
    """The adapter's structure; all other keys are PEFT's own: r, lora_alpha, target_modules ..."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["lora", "ia3", "prefix"] = "lora"

    @model_validator(mode="after")
    def _no_code(self) -> Adapter:
        for key in ("auto_mapping", "megatron_config", "megatron_core"):
            if key in (self.model_extra or {}):
                raise ValueError(f"fields without {key}, by which PEFT would import a module")
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """`type` and PEFT's keys; LoRA on all linear layers where none are named."""
        given = self.model_dump()
        defaults = {"target_modules": "all-linear"} if self.type == "lora" else {}
        return {**defaults, **given}


class Reference(Section):
    """A reference task: what Rt and Rs learn.

    Attributes:
        task: causal-lm, masked-lm, span-corruption, cloze, translation, self-labelled,
            projected-labels, distillation, reading; or the name or path of a labelled task.
        text: A text that has a name (ntrex, wikipedia, wikipedia-10k, emoji); a file with
            `{language}` in its path; or one for each language code (`*` for all others). Lines must
            be parallel where the task needs it.
        column: Where the text is in a file with columns; `{language}` makes a word list of one.
        quoting: As in DataFiles, of the text.
        max_samples: The most lines, or rows.
        counterpart: For translation, what Rs learns: to copy, to restore shuffled or dropped words,
            or to undo a paraphrase (from `paraphrases`, lines parallel to the source text's).
        field: For what is learnt from T: the column of the task's rows that a line of text stands
            for; of `items` those that hold text, in which `words` are replaced.
        items: For what is learnt from T: in place of text a file of the task's own rows, without
            labels, parallel in all languages.
        words: For what is learnt from T, in place of text in the target language: a csv or tsv file
            without a header line, of words of the source language and their translations, which
            take their place in the source text; by default that is the task's own training rows.
        answers: For distillation of free text: `source`, T's answer to the source text is learnt;
            `target`, that which T gives in the target language with the source text and its answer
            before it. By default as the task says under `metadata.answers`, or else `source`.
        prompts: For reading: templates over `text`, of no task, in the source language; by default
            four: the line in that language, in other words, in short, and what it is about.
        share: Of the words that the list has, how many are replaced.
        languages: For what is learnt from T: the languages whose text Rt sees, line by line in
            turn, whatever the target is. By default the target's own.
        name: What the results call it; by default `task`.
        training: What is different in training it.
    """

    task: _Name = "distillation"
    text: _Paths | None = None
    column: _Name = "text"
    quoting: _Quoting = None
    max_samples: PositiveInt | None = None
    counterpart: Literal["copy", "shuffled", "dropped", "paraphrase"] = "copy"
    paraphrases: _Name | None = None
    field: Annotated[tuple[_Name, ...], BeforeValidator(_listed), Field(min_length=1)] = ("text",)
    items: _Paths | None = None
    words: _Paths | None = None
    prompts: tuple[_Name, ...] = ()
    answers: Literal["source", "target"] | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    languages: Annotated[tuple[_Code, ...], BeforeValidator(_listed)] = ()
    name: _Code | None = None
    training: Trainer = Trainer()

    @property
    def title(self) -> str:
        """What the results call it."""
        return self.name or Path(self.task).stem

    @model_validator(mode="after")
    def _one_text(self) -> Reference:
        for one, other in (("text", "items"), ("words", "languages")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"{one} or {other}, not both")
        if self.text is not None and len(self.field) > 1:
            raise ValueError("one field for a line of text; items for rows with several")
        return self


class Merge(Section):
    """How adapters are merged.

    Attributes:
        space: For LoRA `weight`, `factor`, or a list of both to compare.
        ia3: For (IA)³ `linear` or `geometric`.
        rank: `exact`, or the rank to approximate at in weight space.
    """

    space: Annotated[tuple[Literal["weight", "factor"], ...], BeforeValidator(_listed)] = (
        "weight",
    )
    ia3: Literal["linear", "geometric"] = "linear"
    rank: PositiveInt | Literal["exact"] = "exact"


class Scale(Section):
    """How t is chosen.

    Attributes:
        grid: What to choose from; 0, which is T as it is, is always in the running.
        select: `dev`, on labelled dev items of the target language; without labels `unlabelled`, by
            how much the answers say, or `divergence`, by how near they are to T's answers to source
            text, on a tenth of the reference's rows, which Rt has not seen; `fixed`, the one value
            of `grid`.
        per: A scale for each `language`, or one for `all`.
    """

    grid: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)] = (0.25, 0.5, 0.75, 1.0)
    select: Literal["dev", "unlabelled", "divergence", "fixed"] = "dev"
    per: Literal["language", "all"] = "language"

    @model_validator(mode="after")
    def _one_fixed(self) -> Scale:
        if self.select == "fixed" and len(self.grid) != 1:
            raise ValueError("one value in grid, where select is fixed")
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """The grid without 0, each value once."""
        return tuple(dict.fromkeys(t for t in self.grid if t != 0))


class Samples(Section):
    """The most rows of each split."""

    train: PositiveInt | None = None
    dev: PositiveInt | None = None
    test: PositiveInt | None = None


class DataFiles(Section):
    """Local files in place of a task's Hub data set.

    Attributes:
        train: A path with `{language}` in it, or one for each language code (`*` for all others).
        dev: The same.
        test: The same.
        columns: Names of the columns where csv or tsv files have no header line.
        quoting: What quotation marks in csv and tsv are: `csv`'s, around fields, or (`none`)
            characters of the text. By default csv's in csv, and in tsv what the file tells.
    """

    train: _Paths | None = None
    dev: _Paths | None = None
    test: _Paths | None = None
    columns: tuple[str, ...] | None = None
    quoting: _Quoting = None


class Recipe(Section):
    """An experiment, or a production run.

    Attributes:
        model: Hub id (org/name, or org/name@revision), local folder, GGUF file, or
            `builtin:gemma-3-270m`.
        base_model: What adapters to deploy call their base, where `model` is a place on this
            machine: its id on the Hub. It changes nothing else.
        model_kwargs: How it is loaded, in transformers' words.
        apply_chat_template: Whether prompts and answers are turns of a chat, spelt by the
            tokenizer's template; plain text is left as it is.
        system_instruction: What the system says before each prompt of a chat.
        adapter: Its structure, in PEFT's words.
        source: The language that has labels.
        targets: The languages to serve.
        tasks: Names of built-in tasks, or paths of task files.
        reference: The reference task; a list to compare several. Rival methods use the first.
        methods: What to compare.
        merge: Space and rank.
        scale: How t is chosen.
        training: How adapters are trained.
        parallel: How many processes share a training. It changes no result but by rounding, and
            does nothing again that is done.
        max_samples: The most rows of the tasks' splits.
        bad_rows: What is done with rows that a task does not fit (too few fields, a missing value,
            an answer that is no choice) and lines that are no text: `refuse` them, or `skip`.
        leaks: What is done where more than 1 in 100 test items are in training rows, reference text
            or dev rows, too: `refuse` them, or `tell`, for data whose splits are as they are.
        data_files: Task -> local files.
        seed: One, or a list: everything is done once for each.
        folder: Where relative paths start: that of the recipe file. Not a key of the file.
    """

    model: _Name
    base_model: _Name | None = None
    model_kwargs: ModelKwargs = ModelKwargs()
    apply_chat_template: bool = False
    system_instruction: str | None = None
    adapter: Adapter = Adapter()
    source: _Code
    targets: Annotated[tuple[_Code, ...], BeforeValidator(_listed), Field(min_length=1)]
    tasks: Annotated[tuple[_Name, ...], BeforeValidator(_listed), Field(min_length=1)]
    reference: Annotated[tuple[Reference, ...], BeforeValidator(_listed), Field(min_length=1)] = (
        Reference(text="ntrex"),
    )
    methods: Annotated[tuple[_Name, ...], Field(min_length=1)] = ("source-ft", "adamergex")
    merge: Merge = Merge()
    scale: Scale = Scale()
    training: Training = Training()
    parallel: Parallel = Parallel()
    max_samples: Samples = Samples()
    bad_rows: Literal["refuse", "skip"] = "refuse"
    leaks: Literal["refuse", "tell"] = "refuse"
    data_files: dict[str, DataFiles] = Field(default_factory=dict)
    seed: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_listed), Field(min_length=1)] = (
        0,
    )
    folder: Path = Field(default=Path(), exclude=True)

    def chat(self) -> dict[str, Any]:
        """What is said of chats; empty where rows are running text."""
        if not self.apply_chat_template:
            return {}
        system = self.system_instruction
        return {"apply_chat_template": True, **({"system_instruction": system} if system else {})}

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.system_instruction is not None and not self.apply_chat_template:
            raise ValueError("system_instruction: apply_chat_template with it")
        for key in ("targets", "tasks", "methods", "seed"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: each value once")
        if self.source in self.targets:
            raise ValueError(f"targets: languages other than the source {self.source}")
        titles = [reference.title for reference in self.reference]
        if len(set(titles)) != len(titles):
            raise ValueError("reference: a name of its own for each")
        return self
