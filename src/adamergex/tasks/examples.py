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
        label: Index of the right answer where there is a closed set: what an encoder's head learns.
        tail: So many characters at the end of the prompt stay where it is too long for the model:
            what is before them loses its end. 0: the prompt loses its beginning.
    """

    prompt: str
    completion: str
    label: int | None = None
    tail: int = 0


@dataclass(frozen=True)
class Item:
    """One question to be answered, by a choice or in free text.

    Attributes:
        id: Its number among the items of its split.
        prompt: What is given.
        choices: The answers, each as it would continue the prompt; empty for a free answer.
        gold: Index of the right choice; None for a free answer, or where there is no label.
        until: A free answer ends before the first of these.
        max_gen_toks: The most tokens that a free answer may have.
        tail: As in Example.
        weights: What the log-likelihood of each choice is multiplied by in the task's metric, but
            for a factor that all have; empty where they are compared as they are.
    """

    id: str
    prompt: str
    choices: tuple[str, ...]
    gold: int | None
    until: tuple[str, ...] = ()
    max_gen_toks: int = 256
    tail: int = 0
    weights: tuple[float, ...] = ()

    @property
    def counted(self) -> tuple[float, ...]:
        """What the log-likelihood of each choice counts for."""
        return self.weights or (1.0,) * len(self.choices)
