"""The commands that work on a recipe: init, preview, run, demo, report; and what there is."""

from __future__ import annotations

from pathlib import Path

import click

from adamergex.cli import options
from adamergex.cli.execution import Execution, execution

__all__ = ["COMMANDS"]

_recipe = click.argument("recipe", type=click.Path(path_type=Path))
_set = click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key of the recipe, as in training.num_train_epochs=1; may be repeated.",
)
_output = click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything goes; what is finished there is used again. By default runs/NAME.",
)
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Print the steps and which of them are cached; do nothing."
)


@click.command()
@_recipe
@_set
@_output
@execution
@_dry_run
@options.debug
def run(
    recipe: Path, changes: tuple[str, ...], output: Path | None, how: Execution, dry_run: bool
) -> None:
    """Carry a recipe out: train, merge, choose, measure, report."""
    from adamergex.cli.running import print_plan, run_recipe
    from adamergex.recipe import load_recipe

    loaded = load_recipe(recipe, changes)
    where = output or Path("runs") / recipe.stem
    if dry_run:
        print_plan(loaded, where, how)
    else:
        run_recipe(loaded, where, how)


@click.command()
@click.option(
    "--targets",
    metavar="CODE,...",
    help="Target languages: ar de es fa fr id it ja ko pt ru tr zh.",
)
@_set
@_output
@execution
@_dry_run
@options.debug
def demo(
    targets: str | None,
    changes: tuple[str, ...],
    output: Path | None,
    how: Execution,
    dry_run: bool,
) -> None:
    """Train, merge and measure on real text: emoji names in 14 languages, Gemma-3-270M.

    Needs `pip install 'adamergex[demo]'`.
    """
    from adamergex.cli.running import print_plan, run_recipe
    from adamergex.recipe import demo_recipe

    if targets is not None:
        codes = dict.fromkeys(code.strip() for code in targets.split(","))
        changes = (f"targets=[{', '.join(repr(code) for code in codes)}]", *changes)
    where = output or Path("runs/demo")
    if dry_run:
        print_plan(demo_recipe(changes), where, how)
    else:
        run_recipe(demo_recipe(changes), where, how)


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@options.debug
def report(folder: Path) -> None:
    """Write report.html and the tables (csv, Markdown, LaTeX) of a finished run anew."""
    from adamergex.report import write_report

    for path in write_report(folder):
        click.echo(path)


@click.command()
@_recipe
@_set
@options.debug
def preview(recipe: Path, changes: tuple[str, ...]) -> None:
    """Show one training example of each task as the model sees it, and count the tokens."""
    from adamergex.cli.preview import print_preview
    from adamergex.recipe import load_recipe

    print_preview(load_recipe(recipe, changes))


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="recipe.yaml")
@options.debug
def init(path: Path) -> None:
    """Write a recipe to start from, with every key explained, to PATH (recipe.yaml)."""
    from importlib.resources import files

    from adamergex.errors import InputError

    if path.exists():
        raise InputError(path, found="a file", needed="a path where there is none")
    text = (files("adamergex.recipe") / "template.yaml").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    click.echo(f"{path}: edit it, then: adamergex preview {path}; adamergex run {path} --dry-run")


@click.command()
@options.debug
def methods() -> None:
    """List the transfer methods that a recipe can compare."""
    from adamergex.methods import METHODS

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        summary = (method.__doc__ or "").strip().splitlines()[0]
        click.echo(f"{name:<{width}}  {summary}")


COMMANDS = (run, demo, report, preview, init, methods)
