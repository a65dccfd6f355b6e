"""The three checkpoints of a merge, and whether they fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adamergex.checkpoint import Checkpoint, Ia3Config, LoraConfig, PrefixConfig
from adamergex.errors import InputError

__all__ = ["Three", "check_pair", "checked"]


@dataclass(frozen=True)
class Three:
    """What goes into a merge.

    Attributes:
        task: T, the target task in the source language.
        reference_target: Rt, the reference task in the target language.
        reference_source: Rs, the reference task in the source language.
    """

    task: Checkpoint
    reference_target: Checkpoint
    reference_source: Checkpoint

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter((self.task, self.reference_target, self.reference_source))

    @property
    def roles(self) -> dict[str, Checkpoint]:
        """The three by name."""
        return vars(self).copy()

    @property
    def references(self) -> tuple[Checkpoint, Checkpoint]:
        """Rt and Rs."""
        return self.reference_target, self.reference_source


def checked(three: Three, *, allow_different_base: bool = False) -> Three:
    """`three`, if they can be merged at all.

    They must have one structure, one base model, the same modules with the same parts, of the same
    shapes apart from a LoRA rank, and the same trained biases.

    Raises:
        InputError: The first thing that differs, in the reference that differs from the task.
    """
    for other in three.references:
        check_pair(three.task, other, allow_different_base=allow_different_base)
    return three


def check_pair(task: Checkpoint, other: Checkpoint, *, allow_different_base: bool = False) -> None:
    """Raises InputError unless `other` fits `task` as `checked` has it."""
    _same_config(task, other, allow_different_base)
    _same_modules(task, other)


def _same_config(task: Checkpoint, other: Checkpoint, allow_different_base: bool) -> None:
    fields = ["peft_type"]
    if isinstance(task.config, LoraConfig):
        fields += ["use_dora", "lora_bias", "bias", "fan_in_fan_out"]
    if isinstance(task.config, Ia3Config):
        fields += ["fan_in_fan_out"]
    if isinstance(task.config, PrefixConfig):
        fields += ["num_virtual_tokens", "num_layers"]
    if not allow_different_base:
        fields += ["base_model_name_or_path", "revision"]
    for field in fields:
        found, needed = getattr(other.config, field, None), getattr(task.config, field)
        if found != needed:
            hint = " (or --allow-different-base)" if field.startswith(("base", "revis")) else ""
            raise InputError(
                other.name, field, found=found, needed=f"{needed!r}, as {task.name}{hint}"
            )


def _same_modules(task: Checkpoint, other: Checkpoint) -> None:
    wanted, has = task.layout.modules, other.layout.modules
    for module in sorted(wanted.keys() ^ has.keys()):
        found, needed = ("no such module", "one") if module in wanted else ("a module", "none")
        raise InputError(other.name, module, found=found, needed=f"{needed}, as in {task.name}")
    for module, parts in wanted.items():
        for part in parts:
            found, needed = other.shape(module, part), task.shape(module, part)
            if _without_rank(found, part) != _without_rank(needed, part):
                raise InputError(
                    other.name, module, part, found=found, needed=f"{needed} as in {task.name}"
                )
    for name in sorted({*task.layout.biases} ^ {*other.layout.biases}):
        found, needed = ("no such bias", "one") if name in task.tensors else ("a bias", "none")
        raise InputError(other.name, name, found=found, needed=f"{needed}, as in {task.name}")
    for name in task.layout.biases:
        found, needed = other.tensors[name].shape, task.tensors[name].shape
        if found != needed:
            raise InputError(other.name, name, found=found, needed=f"{needed}, as in {task.name}")


def _without_rank(shape: tuple[int, ...], part: str) -> tuple[int, ...]:
    """The shape with the LoRA rank left out: the first axis of A, the second of B."""
    return {"a": shape[1:], "b": shape[:1] + shape[2:]}.get(part, shape)
