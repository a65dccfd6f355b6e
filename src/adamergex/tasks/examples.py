"""What a task is made of: examples to train on, items to measure on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Example", "Item"]


@dataclass(frozen=True)
class Example:
    """One training row: the loss is on the completion (and the end token), never on the prompt.

    Attributes:
        prompt: What is given. Empty for plain text.
        completion: What is to be learnt. It starts with the space that parts it from the prompt.
    """

    prompt: str
    completion: str


@dataclass(frozen=True)
class Item:
    """One question with a closed set of answers.

    Attributes:
        id: What it is called in every language: parallel items share it.
        prompt: What is given.
        choices: The answers, each as it would continue the prompt.
        gold: Index of the right one.
    """

    id: str
    prompt: str
    choices: tuple[str, ...]
    gold: int
