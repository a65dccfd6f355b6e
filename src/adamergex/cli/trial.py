"""`adamergex try`: adapters in a web page of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from adamergex.cli import options

__all__ = ["COMMANDS"]


@click.command("try")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True)
@click.option("--model", metavar="NAME", help="The base model; by default what the adapters name.")
@click.option(
    "--store", metavar="DIR", type=click.Path(path_type=Path), help="A run's steps: not DIR/steps."
)
@click.option("--port", type=click.IntRange(1, 65535), help="By default the first free from 7860.")
@options.debug
def try_(folders: tuple[str, ...], model: str | None, store: Path | None, port: int | None) -> None:
    """Try adapters in a web page: the base, T and the merge at any t, side by side.

    DIR is a run (runs/demo), what `export --to split` made, or one adapter, which is multiplied by
    t. The page is for this machine alone. Needs `pip install 'adamergex[try]'`.
    """
    from adamergex.trial import entries
    from adamergex.trial.page import serve

    found = [entry for folder in folders for entry in entries(folder, model, store)]
    serve(found, port, click.echo)


COMMANDS = (try_,)
