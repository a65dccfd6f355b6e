"""The options that say where a recipe's steps run: none of them changes a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from adamergex.errors import InputError

__all__ = ["Execution", "execution"]


@dataclass(frozen=True)
class Execution:
    """Where and how steps run. Its fields are the options' names."""

    executor: str = "local"
    store: str | None = None
    workers: int | None = None
    address: str | None = None
    cpus_per_step: int | None = None
    gpus_per_step: float | None = None

    def __post_init__(self) -> None:
        """Raises InputError for an option of the other executor."""
        of_ray = ("address", "cpus_per_step", "gpus_per_step")
        others = of_ray if self.executor == "local" else ("workers",)
        for name in others:
            if getattr(self, name) is not None:
                needed = "--executor ray" if name in of_ray else "--executor local"
                raise InputError(f"--{name.replace('_', '-')}", found=self.executor, needed=needed)
        if self.executor == "local" and "://" in (self.store or ""):
            raise InputError("--store", found=self.store, needed="a folder, or --executor ray")

    def store_of(self, output: Path) -> str:
        """Where the finished steps of a run in `output` are."""
        return self.store or str(output / "steps")


_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="Where steps run: on this machine (local), or as tasks of Ray.",
    ),
    click.option(
        "--store",
        metavar="URL",
        help="Finished steps: a folder, or with ray s3://, gs:// ... By default OUTPUT/steps.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        help="Local: processes; by default one for each GPU, or by cores, at most 4, and memory.",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Ray: the cluster; by default one is started here, for this run.",
    ),
    click.option(
        "--cpus-per-step", type=click.IntRange(1), help="Ray: CPUs and threads; by default 1."
    ),
    click.option(
        "--gpus-per-step",
        type=click.FloatRange(0),
        help="Ray: GPUs of a step that runs the model; by default 1 where there are any.",
    ),
)


def execution(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command these options, as one argument: `how`."""

    @wraps(command)
    def gathered(**given: Any) -> Any:
        how = Execution(**{field.name: given.pop(field.name) for field in fields(Execution)})
        return command(**given, how=how)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered
