"""The commands that hand an adapter on: export, push."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adamergex.cli import options

__all__ = ["COMMANDS"]

_PROMPTS = (
    "The weather today is",
    "Question: What is the capital of Kenya? Answer:",
    "Bugün hava çok",
    "امروز هوا",
    "今日の天気は",
)
"""What an export is checked on by default: short, in several scripts."""


_ONLY = {
    "dtype": ("merged", "split"),
    "llama_cpp": ("gguf",),
    "prompts": ("merged",),
    "no_check": ("merged",),
    "base_model": ("merged", "split"),
    "model": ("merged", "gguf"),
}
"""Option -> the values of --to that have a use for it."""


@click.command()
@click.argument("adapters", metavar="DIR...", nargs=-1, required=True)
@click.option("--to", type=click.Choice(["merged", "gguf", "split"]), required=True)
@click.option(
    "--output",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make.",
)
@click.option("--model", metavar="NAME", help="The base model; by default what the config names.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="merged, split: the stored type; by default the base's, or the adapters'.",
)
@click.option(
    "--llama-cpp", metavar="DIR", type=click.Path(path_type=Path), help="gguf: a checkout."
)
@click.option(
    "--prompt", "prompts", metavar="TEXT", multiple=True, help="merged: what to check it on."
)
@click.option("--no-check", is_flag=True, help="merged: do not compare it with PEFT.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier export left there.")
@click.option("--base-model", metavar="NAME", help="merged, split: what the result calls its base.")
@options.debug
def export(
    adapters: tuple[str, ...],
    to: str,
    output: Path,
    model: str | None,
    dtype: Any,
    llama_cpp: Path | None,
    prompts: tuple[str, ...],
    no_check: bool,
    overwrite: bool,
    base_model: str | None,
) -> None:
    """Write an adapter as servers load it.

    \b
    merged  the base model with the adapter folded in: LoRA, DoRA, (IA)3, any rank
    gguf    for llama.cpp and Ollama, by llama.cpp's converters; of a merged model, too
    split   T and Rt - Rs as two LoRA folders, from T RT RS: the second one's scale is t
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from adamergex.errors import InputError

    given = {"dtype": dtype, "llama_cpp": llama_cpp, "prompts": prompts, "no_check": no_check,
             "base_model": base_model, "model": model}  # fmt: skip
    for option, of in _ONLY.items():
        if given[option] and to not in of:
            name = f"--{option.rstrip('s').replace('_', '-')}"
            raise InputError(name, found=f"--to {to}", needed=f"--to {' or '.join(of)}")
    count = 3 if to == "split" else 1
    if len(adapters) != count:
        needed = "T RT RS, in this order" if to == "split" else "one folder"
        raise InputError("DIR", found=f"{len(adapters)} folders", needed=needed)
    if to == "split":
        from adamergex.export import export_split

        task, target, source = adapters
        chosen = {"dtype": dtype or "auto", "base_model": base_model}
        made = export_split(task, target, source, output, overwrite=overwrite, **chosen)
        for name, facts in made.items():
            click.echo(f"{output / name}: rank {facts['rank']}, {facts['dtype']}")
        click.echo("adapter = task + t * divergence: the scale of the second is t")
    elif to == "gguf":
        _gguf(adapters[0], model, output, llama_cpp, overwrite)
    else:
        asked = () if no_check else prompts or _PROMPTS
        more = {"dtype": dtype, "prompts": asked, "base_model": base_model}
        _merged(adapters[0], model, output, overwrite=overwrite, **more)


def _base_of(source: Path, model: str | None) -> Path:
    """Where the base model of an adapter folder lies."""
    from adamergex.export import base_folder, base_name

    return base_folder(model or base_name(source))


def _merged(source: str, model: str | None, output: Path, **chosen: Any) -> None:
    from adamergex.checkpoint import open_checkpoint
    from adamergex.export import export_merged

    checkpoint = open_checkpoint(source)
    base = _base_of(checkpoint.folder, model)
    facts = export_merged(checkpoint, base, output, **chosen)
    click.echo(
        f"folded into {facts['changed']} of {facts['tensors']} tensors of {base.name}, "
        f"{' and '.join(facts['dtypes'])}, {facts['bytes'] / 2**20:.1f} MiB"
    )
    check = facts["check"]
    if check:
        click.echo(
            f"check on {check['prompts']} prompts against PEFT: the same likeliest token at "
            f"{check['top1']} of {check['tokens']} places, log-probabilities at most "
            f"{check['largest']:.2g} apart"
        )
    else:
        click.echo("not compared with PEFT (--no-check)")
    click.echo(output)


def _gguf(
    source: str, model: str | None, output: Path, llama_cpp: Path | None, overwrite: bool
) -> None:
    from adamergex.checkpoint import CONFIG_FILE
    from adamergex.errors import InputError
    from adamergex.export import export_gguf

    if llama_cpp is None:
        needed = "a checkout: git clone --depth 1 https://github.com/ggml-org/llama.cpp"
        raise InputError("--llama-cpp", found="none", needed=needed)
    folder = base = Path(source)
    if (folder / CONFIG_FILE).is_file():
        base = _base_of(folder, model)
    made = export_gguf(folder, base, output, llama_cpp=llama_cpp, overwrite=overwrite)
    for name, size in made.items():
        click.echo(f"{output / name}: {size / 2**20:.1f} MiB")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Where the repository is new: for its members only.")
@click.option("--dry-run", is_flag=True, help="Check everything and list the files; send nothing.")
@options.debug
def push(folder: Path, repository: str, private: bool, dry_run: bool) -> None:
    """Put an adapter, or a merged model, on the Hugging Face Hub.

    Checked first: its card, its base model's name, and that no text has a path of this machine.
    """
    from adamergex.export.push import push as pushed

    sizes, url = pushed(folder, repository, private=private, dry_run=dry_run)
    for name, size in sizes.items():
        click.echo(f"{name}  {size} bytes")
    click.echo(url or f"{repository}: nothing sent (--dry-run)")


COMMANDS = (export, push)
