"""What a method puts into the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from adamergex.step import Step

if TYPE_CHECKING:
    from adamergex.methods.workshop import Workshop

__all__ = ["Method", "Row", "Setting"]


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        scale: How far it is from the task adapter; 0 is the task adapter itself.
        label: The setting, for people.
        adapter: The step whose folder holds the adapter; None for the base model alone, and where
            the row has members.
    """

    scale: float
    label: str
    adapter: Step | None


@dataclass(frozen=True)
class Row:
    """One line of the table for one target language. With several settings, one is selected.

    Attributes:
        method: The method's name.
        variant: Which of its variants; empty where it has one.
        settings: What to choose from.
        headline: Whether this row is the answer to what to deploy.
        prompting: How questions are put: as the task has them, or `xlt`.
        members: The steps of several adapters, all of which are asked; none where one is.
    """

    method: str
    variant: str
    settings: tuple[Setting, ...]
    headline: bool = False
    prompting: str = ""
    members: tuple[Step, ...] = ()


class Method(Protocol):
    """A transfer method: which rows it puts into the table of one target language."""

    def __call__(self, shop: Workshop, target: str) -> list[Row]:
        """Its rows."""
        ...
