"""`adamergex store`: what runs have finished and kept; whether it is whole; what can go."""

from __future__ import annotations

from pathlib import Path

import click

from adamergex.cli import options

__all__ = ["COMMANDS"]

_folder = click.argument(
    "folder", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@click.group()
def store() -> None:
    """Look after the finished steps of a run: RUN is its folder, or its folder steps."""


@store.command("ls")
@_folder
@options.debug
def listing(folder: Path) -> None:
    """List what is finished: kind, label, size, seconds that it took, folder."""
    from adamergex.run.upkeep import finished, opened

    found = opened(folder)
    entries = finished(found)
    for entry in entries:
        click.echo(
            f"{entry.kind:<12} {_size(entry.bytes)} {_seconds(entry.seconds)}  "
            f"{entry.label}  {entry.folder.name[: len(entry.kind) + 13]}"
        )
    left = list(found.unfinished())
    click.echo(
        f"{len(entries)} steps, {_size(sum(entry.bytes for entry in entries)).strip()}; "
        f"{len(left)} unfinished"
    )


@store.command()
@_folder
@options.debug
def verify(folder: Path) -> None:
    """Compare every file with its SHA-256; exit code 1 if one is not as it was written."""
    from adamergex.errors import AdamergexError
    from adamergex.run.upkeep import damaged, finished, opened

    found = opened(folder)
    problems = damaged(found)
    for entry, problem in problems:
        click.echo(f"{entry}: {problem}")
    if problems:
        again = "the next run makes them anew"
        raise AdamergexError(f"{found.folder}: {len(problems)} damaged steps; {again}")
    click.echo(f"{len(finished(found))} steps, all as they were written")


@store.command()
@_folder
@click.option(
    "--recipe",
    "recipes",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also remove what this recipe does not need; repeat it for all recipes to keep.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@options.debug
def gc(folder: Path, recipes: tuple[Path, ...], dry_run: bool) -> None:
    """Remove what killed runs left, and steps that no recipe needs."""
    from adamergex.plan import planned
    from adamergex.recipe import load_recipe
    from adamergex.run.upkeep import opened, removed
    from adamergex.step import in_order

    keep = None
    if recipes:
        plans = [planned(load_recipe(recipe, ())) for recipe in recipes]
        keep = {step.folder for step in in_order(plans)}
    verb = "would remove" if dry_run else "removed"
    count = size = 0
    for path, held in removed(opened(folder), keep, dry_run=dry_run):
        click.echo(f"{verb} {path} ({_size(held).strip()})")
        count, size = count + 1, size + held
    click.echo(f"{verb} {count} folders, {_size(size).strip()}")


def _size(count: int) -> str:
    return f"{count / 2**20:8.1f} MiB"


def _seconds(seconds: float | None) -> str:
    return " " * 9 if seconds is None else f"{seconds:7.1f} s"


COMMANDS = (store,)
