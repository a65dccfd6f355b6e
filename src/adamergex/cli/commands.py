"""The commands and their options; each imports what it runs when it runs."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from adamergex import __version__
from adamergex.cli import export, options, recipes, store, tasks, trial

__all__ = ["cli"]

_folder = click.argument("adapters", metavar="DIR...", nargs=-1, required=True)
_base_model = click.option(
    "--base-model",
    metavar="NAME",
    help="What the result calls its base: the Hub id, org/name or org/name@revision.",
)
_base = click.option(
    "--allow-different-base", is_flag=True, help="Merge adapters that name different base models."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="adamergex")
def cli() -> None:
    """Cross-lingual transfer of language models by adapter merging.

    \b
    target-task adapter in the target language =
        task adapter + scale * (target reference - source reference)
    """  # noqa: D301 - click reads the backspace as "keep these lines"


_output = click.option(
    "--output",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make.",
)
_dtype = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Stored type. auto is the inputs', or float32 where that would round an exact result.",
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace a folder made like this one.")
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Check everything and say what would be made; write nothing."
)


@cli.command()
@click.option("--task", metavar="DIR", required=True, help="Target task, source language.")
@click.option(
    "--reference-target", metavar="DIR", required=True, help="Reference task, target language."
)
@click.option(
    "--reference-source", metavar="DIR", required=True, help="Reference task, source language."
)
@_output
@click.option(
    "--scale",
    type=float,
    default=1.0,
    show_default=True,
    help="t, how much of the divergence to add.",
)
@click.option(
    "--space",
    type=click.Choice(["auto", "factor", "weight"]),
    default="auto",
    show_default=True,
    help="LoRA: add weight updates (exact) or the factors A and B (as published). auto is weight.",
)
@click.option(
    "--rank",
    metavar="exact|N",
    default="exact",
    show_default=True,
    help="LoRA in weight space: lossless, or the best approximation of rank N.",
)
@_dtype
@click.option(
    "--ia3",
    type=click.Choice(["linear", "geometric"]),
    default="linear",
    show_default=True,
    help="(IA)3: as published, or a power of the ratio.",
)
@_overwrite
@_dry_run
@options.as_json
@options.pickle
@_base
@_base_model
@options.debug
def merge(
    output: Path, rank: str, overwrite: bool, dry_run: bool, as_json: bool, **choices: Any
) -> None:
    """Merge three adapters into one for the target language.

    DIR is a PEFT adapter folder, or a Hub id (org/name) where huggingface_hub is installed.
    """
    if "numpy" not in sys.modules:  # or it would be too late, and only said to be so
        # BLAS would start a thread for each core, each of which first spins for some 20 ms.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from adamergex.step import digesting

    # A quarter of the work, begun while the rest is still being imported.
    roles = () if dry_run else ("task", "reference_target", "reference_source")
    with digesting(x for role in roles for x in Path(choices[role]).glob("adapter_*")):
        from adamergex.merging import merge as merge_adapters

    made = merge_adapters(rank=_rank(rank), **choices)
    _finish(made, output, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


def _finish(made: Any, output: Path, *, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Writes what was merged, or only checks, and says what it is."""
    from adamergex.checkpoint import check_output
    from adamergex.cli.printing import merge_lines
    from adamergex.errors import printable

    facts = {**made.summary, "output": str(output), "written": not dry_run}
    if dry_run:
        check_output(output, overwrite=overwrite, inputs=[c.folder for c in made.roles.values()])
    else:
        facts |= made.save(output, overwrite=overwrite).facts
    facts |= {"base_model": made.config.get("base_model_name_or_path"), "notices": made.notices}
    for notice in made.notices:
        click.echo(f"adamergex: warning: {printable(notice)}", err=True)
    click.echo(jsonlib.dumps(facts) if as_json else "\n".join(map(printable, merge_lines(facts))))


class _Weights(click.Command):
    """Takes `--weights 1 0.5 -0.5`: the numbers that follow are its values, negative ones too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, which knows options of a fixed number of values alone."""
        if "--weights" in args:
            at = args.index("--weights") + 1
            numbers = list(takewhile(_is_number, args[at:]))
            args = [*args[:at], ",".join(numbers), *args[at + len(numbers) :]]
        return super().parse_args(ctx, args)


@cli.command(cls=_Weights)
@_folder
@click.option(
    "--weights", metavar="W...", required=True, help="One number for each adapter, as in 1 0.5 -0.5"
)
@_output
@click.option(
    "--rank",
    metavar="exact|N",
    default="exact",
    show_default=True,
    help="LoRA: lossless, or the best approximation of rank N.",
)
@_dtype
@_overwrite
@_dry_run
@options.as_json
@options.pickle
@_base
@_base_model
@options.debug
def combine(
    adapters: tuple[str, ...],
    weights: str,
    output: Path,
    rank: str,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Add any number of adapters with weights: LoRA of any ranks and scalings, (IA)3, prefixes.

    The first gives the config, and the head if it has one.
    """
    from adamergex.errors import InputError
    from adamergex.merging import combine as combine_adapters

    numbers = [x for x in weights.split(",") if x]
    if not all(map(_is_number, numbers)):
        raise InputError("--weights", found=weights, needed="numbers")
    made = combine_adapters(adapters, [float(x) for x in numbers], rank=_rank(rank), **choices)
    _finish(made, output, overwrite=overwrite, dry_run=dry_run, as_json=as_json)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@cli.command()
@_folder
@options.as_json
@options.pickle
@_base
@options.debug
def inspect(
    adapters: tuple[str, ...], as_json: bool, allow_pickle: bool, allow_different_base: bool
) -> None:
    """Say what adapters are and, for two or more, how they lie to each other.

    Three are taken in the order of `merge`: task, target reference, source reference.
    """
    from adamergex.checkpoint import open_checkpoint
    from adamergex.merging.inspection import compared, described

    opened = [open_checkpoint(name, allow_pickle=allow_pickle) for name in adapters]
    facts: dict[str, Any] = {"adapters": [described(c) for c in opened]}
    if len(opened) > 1:
        facts["comparison"] = compared(opened, allow_different_base=allow_different_base)
    if as_json:
        click.echo(jsonlib.dumps(facts))
    else:
        from adamergex.cli.inspection import print_inspection

        print_inspection(facts)


def _rank(text: str) -> Any:
    """`exact`, or a number; anything else is left for the merge to refuse."""
    try:
        return int(text)
    except ValueError:
        return text


for command in (
    *recipes.COMMANDS, *tasks.COMMANDS, *store.COMMANDS, *export.COMMANDS, *trial.COMMANDS
):  # fmt: skip
    cli.add_command(command)
