"""The commands that work on one task: tasks, evaluate."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from adamergex.cli import options

__all__ = ["COMMANDS"]

_PATH = click.Path(path_type=Path)

_data_files = click.option(
    "--data-files",
    metavar="SPLIT=PATH",
    multiple=True,
    help="train, dev or test from a local file, in place of the Hub's; may be repeated.",
)
_bad_rows = click.option(
    "--bad-rows",
    type=click.Choice(["refuse", "skip"]),
    help="What is done with rows that the task does not fit; by default what the recipe says.",
)
_max_samples = click.option(
    "--max-samples", type=click.IntRange(1), help="The most items of a split, drawn at random."
)
_recipe = click.option(
    "--recipe",
    type=_PATH,
    help="Take data_files, max_samples and relative paths from this recipe.",
)


@click.command()
@click.argument("name", required=False)
@click.option("--language", metavar="CODE", help="With --output: the language to write.")
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the task and its rows for `lm_eval --include_path DIR`.",
)
@_data_files
@_bad_rows
@_max_samples
@_recipe
@options.debug
def tasks(
    name: str | None,
    language: str | None,
    output: Path | None,
    data_files: tuple[str, ...],
    bad_rows: str | None,
    max_samples: int | None,
    recipe: Path | None,
) -> None:
    """List the tasks, reference tasks and texts; show one task; or write it for lm_eval."""
    from adamergex.errors import InputError
    from adamergex.tasks import find_task

    if name is None:
        _print_all()
        return
    if output is None:
        click.echo(_shown(find_task(name, Path.cwd())), nl=False)
        return
    if language is None:
        raise InputError("--language", found="none", needed="a code")
    catalog = _catalog(name, data_files, recipe, max_samples, bad_rows)
    click.echo(_write(catalog, name, language, output))


@click.command()
@click.option("--model", metavar="NAME", required=True, help="Hub id, folder, GGUF or builtin:.")
@click.option(
    "--model-kwargs",
    metavar="KEY=VALUE",
    multiple=True,
    help="dtype, attn_implementation, quantization or device_map; may be repeated.",
)
@click.option(
    "--apply-chat-template", is_flag=True, help="Put prompts as turns of a chat, by the template."
)
@click.option("--system-instruction", metavar="TEXT", help="What the system says before each.")
@click.option(
    "--adapter", "adapters", metavar="DIR", type=_PATH, multiple=True, help="PEFT adapters, or one."
)
@click.option("--task", metavar="NAME", required=True, help="A task's name, or its .yaml file.")
@click.option("--language", metavar="CODE", required=True, help="The language to measure in.")
@click.option(
    "--split", type=click.Choice(["train", "dev", "test"]), default="test", show_default=True
)
@_data_files
@_bad_rows
@_max_samples
@_recipe
@click.option(
    "--output",
    metavar="FILE",
    type=_PATH,
    help="Write the score with every prediction as JSON; of several adapters a list.",
)
@options.as_json
@options.pickle
@options.debug
def evaluate(
    model: str,
    model_kwargs: tuple[str, ...],
    apply_chat_template: bool,
    system_instruction: str | None,
    adapters: tuple[Path, ...],
    task: str,
    language: str,
    split: str,
    data_files: tuple[str, ...],
    bad_rows: str | None,
    max_samples: int | None,
    recipe: Path | None,
    output: Path | None,
    as_json: bool,
    allow_pickle: bool,
) -> None:
    """Score a model, or each of several adapters on it, on one task in one language."""
    from adamergex.score import each_scored
    from adamergex.tasks import readings

    how = _model_kwargs(model_kwargs)
    catalog = _catalog(task, data_files, recipe, max_samples, bad_rows)
    asked = catalog.rows(catalog.task(task), language, split)
    _say(readings(asked))
    found = each_scored(
        model,
        adapters or [None],
        asked.config,
        asked.files,
        allow_pickle=allow_pickle,
        model_kwargs=how,
        chat=_chat(apply_chat_template, system_instruction),
    )
    several = len(adapters) > 1
    records: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for adapter, record in zip(adapters or [None], found, strict=True):
        named = {"adapter": str(adapter)} if several else {}
        records.append({**named, **record})
        shown.append({**named, **_facts(task, language, record)})
        _say([f"adamergex: warning: {notice}" for notice in shown[-1]["notices"]])
        if not as_json:
            _say(_lines(shown[-1]), err=False)
    if as_json:
        click.echo(jsonlib.dumps(shown if several else shown[0]))
    if output is not None:
        text = jsonlib.dumps(records if several else records[0], indent=1, ensure_ascii=False)
        output.write_text(text + "\n", encoding="utf-8")


@click.command(
    "lm-eval",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
    options_metavar="",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lm_eval(arguments: tuple[str, ...]) -> None:
    """Run lm_eval, which then also knows `--model adamergex`.

    \b
    adamergex lm-eval run --model adamergex --model_args pretrained=MODEL,peft=DIR --tasks NAME
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    import sys

    from lm_eval.__main__ import cli_evaluate

    import adamergex.score.harness  # noqa: F401 - which makes the model known

    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()


def _facts(task: str, language: str, record: dict[str, Any]) -> dict[str, Any]:
    """What is shown of a score: all but what it says of each item."""
    kept = ("n", "metric", "score", "standard_error", "metrics", "chance", "majority")
    facts = {"task": task, "language": language, **{key: record[key] for key in kept}}
    return {**facts, "notices": record.get("notices", [])}


def _lines(facts: dict[str, Any]) -> list[str]:
    error = facts["standard_error"]
    spread = f" ± {error:.3f}" if error is not None else ""
    place = f"{facts['adapter']}: " if "adapter" in facts else ""
    lines = [f"{place}{facts['task']}, {facts['language']}: {facts['n']} items"]
    for metric, value in facts["metrics"].items():
        first = metric == facts["metric"]
        lines.append(f"{metric} {value:.3f}{spread if first else ''}")
    if facts["chance"] is not None:
        lines.append(f"chance {facts['chance']:.3f}, majority class {facts['majority']:.3f}")
    return lines


def _say(lines: Sequence[str], *, err: bool = True) -> None:
    from adamergex.errors import printable

    for line in lines:
        click.echo(printable(line), err=err)


def _model_kwargs(given: tuple[str, ...]) -> dict[str, Any]:
    """How the base is loaded, checked before anything is read."""
    from adamergex.recipe import placed_model_kwargs

    parts = [text.partition("=") for text in given]
    pairs = {key: value for key, _, value in parts}
    return placed_model_kwargs(pairs, "--model-kwargs").model_dump(exclude_none=True)


def _chat(apply_chat_template: bool, system_instruction: str | None) -> dict[str, Any]:
    from adamergex.errors import InputError

    if system_instruction is not None and not apply_chat_template:
        needed = "--apply-chat-template with it"
        raise InputError("--system-instruction", found=system_instruction, needed=needed)
    options = {"system_instruction": system_instruction}
    return {"apply_chat_template": True, **options} if apply_chat_template else {}


def _catalog(
    task: str,
    data_files: tuple[str, ...],
    recipe: Path | None,
    max_samples: int | None,
    bad_rows: str | None,
) -> Any:
    """Where rows come from: a recipe, options, or both."""
    from adamergex.errors import InputError
    from adamergex.methods import Catalog
    from adamergex.recipe import DataFiles, Samples, load_recipe

    catalog = Catalog.of(load_recipe(recipe)) if recipe else Catalog("", Path.cwd())
    if data_files:
        places: dict[str, Any] = {}
        for given in data_files:
            split, equals, path = given.partition("=")
            if split not in ("train", "dev", "test") or not equals:
                raise InputError("--data-files", found=given, needed="train=, dev= or test=PATH")
            places[split] = str(Path.cwd() / path)
        name = catalog.task(task).name
        known = catalog.data_files.get(name, DataFiles())
        how = {"columns": known.columns, "quoting": known.quoting}
        catalog.data_files = {**catalog.data_files, name: DataFiles(**places, **how)}
    if max_samples is not None:
        catalog.max_samples = Samples(train=max_samples, dev=max_samples, test=max_samples)
    if bad_rows is not None:
        catalog.bad_rows = bad_rows
    return catalog


def _write(catalog: Any, name: str, language: str, output: Path) -> Path:
    from adamergex.tasks import questions, readings, write_task

    task = catalog.task(name)
    found = {split: catalog.find(task, language, split) for split in ("train", "dev", "test")}
    rows: dict[str, Any] = {}
    for split, data in found.items():
        if data is None:
            continue
        asked = questions(data.config, data.files)
        rows[split] = asked.rows
        _say(readings(data) + asked.left_out)
    return write_task(task.in_language(language), rows, output)


def _shown(task: Any) -> str:
    """A task's file, or what it comes to where it includes one of lm-evaluation-harness's."""
    import yaml

    if task.include is None:
        return task.path.read_text(encoding="utf-8")
    return yaml.safe_dump(dict(task.config), allow_unicode=True, sort_keys=False)


def _print_all() -> None:
    from adamergex.tasks import REFERENCES, TEXTS, builtin_tasks, find_task

    click.echo("tasks")
    for name in builtin_tasks():
        task = find_task(name, Path.cwd())
        about = task.path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        click.echo(f"  {name:<10}{about}")
    click.echo("lm-eval:NAME: one of lm-evaluation-harness's own, lm-eval:belebele_{language}")
    click.echo("any other: the path of a .yaml file in lm-evaluation-harness's format")
    click.echo("\nreference tasks\n  " + ", ".join(REFERENCES) + ", or a labelled task")
    click.echo("\ntexts\n  " + ", ".join(TEXTS) + ", or the path of a file")


COMMANDS = (tasks, evaluate, lm_eval)
