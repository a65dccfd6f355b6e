"""The tensors of a checkpoint, sorted by what they are, under the names that PEFT loads them by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from adamergex.checkpoint.config import AdapterConfig, LoraConfig, PrefixConfig
from adamergex.checkpoint.parts import Part, part_of, saved_module
from adamergex.checkpoint.wrappers import unwrapped
from adamergex.errors import InputError

__all__ = ["Layout", "checked_name", "laid_out"]

_LONGEST = 256
"""Characters of a name: the longest that PEFT writes have about half as many."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PROMPT = "prompt_embeddings"
_RAW_PROMPT = ("prompt_encoder", "embedding", "weight")
"""Its name in a model's own state, but for the adapter's name, which stands second."""

Shapes = Mapping[str, tuple[int, ...]]


class Layout(NamedTuple):
    """A checkpoint's tensors, sorted by what they are.

    Attributes:
        modules: Module -> part (a, b, bias, magnitude, vector, prefix) -> tensor name.
        biases: Names of base-model biases that were trained with the adapter.
        whole: Names of weights saved whole beside it (a task head, embeddings).
        stored: Tensor name, as PEFT writes it -> its name in the file.
        renamed: How the two differ, in words; empty where they do not.
    """

    modules: Mapping[str, Mapping[str, str]]
    biases: tuple[str, ...]
    whole: tuple[str, ...]
    stored: Mapping[str, str]
    renamed: tuple[str, ...] = ()


def laid_out(shapes: Shapes, config: AdapterConfig, file: object) -> Layout:
    """The layout of a checkpoint.

    Names that are not PEFT's are read where they can mean one thing only; see `unwrapped`, and
    `_Reading` for what is done to the rest of a name.

    Args:
        shapes: Name in the file -> shape.
        config: The checkpoint's config.
        file: Where the names are from, for the message.

    Raises:
        InputError: A name that is not safe to write, that PEFT would not load and that could mean
            several things, or that stands for the same tensor as another; a tensor that the config
            does not explain, a module with a part missing or with a part of another structure.
    """
    for name in shapes:
        checked_name(name, file)
    reading = _Reading(shapes, config, file)
    modules = reading.modules
    needed, saved = _needed_parts(config), config.saved_whole
    for module, parts in modules.items():
        if set(parts) != needed:
            found = " and ".join(sorted(parts))
            raise InputError(file, module, found=found, needed=" and ".join(sorted(needed)))
        if saved or ".base_layer" in module:
            _check_module(module, saved, file)
    if not modules:
        raise InputError(file, found="no adapter tensor", needed=f"{config.peft_type} tensors")
    biases, whole = reading.others()
    return Layout(modules, biases, whole, reading.stored, reading.renamed)


def checked_name(name: str, *subject: object) -> str:
    """`name`, if it is safe to write into a file or a path. Raises InputError if not."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name) or name.strip(".") == "":
        needed = f"only letters, digits, . _ and -, at most {_LONGEST} of them"
        raise InputError(*subject, "name", found=name, needed=needed)
    return name


class _Reading:
    """The names of one file while they are read.

    Attributes:
        modules: See Layout.
        stored: See Layout.
    """

    def __init__(self, shapes: Shapes, config: AdapterConfig, file: object) -> None:
        self.modules: dict[str, dict[str, str]] = {}
        self.stored: dict[str, str] = {}
        self._shapes, self._config, self._file = shapes, config, file
        self._adapters: dict[str | None, str] = {}  # the adapter's own name -> a tensor that has it
        self._changes: set[str] = set()
        self._others: list[str] = []
        prefix = "base_model." if isinstance(config, PrefixConfig) else "base_model.model."
        plain, self._wrappers, bare = unwrapped(sorted(shapes), prefix, file)
        copies: list[tuple[str, str]] = []
        for stored, name in plain.items():
            part = part_of(name)
            if part is not None:
                self._add_part(part, stored)
            elif name == _PROMPT or _is_raw_prompt(name):
                self._add_prompt(name, stored)
            elif stored in bare:  # what is beside the model that PEFT knows
                needed = f"{prefix} before it, as before others, or an adapter's tensor"
                raise InputError(file, "tensor", found=stored, needed=needed)
            elif ".modules_to_save." in name or ".original_module." in name:
                copies.append((name, stored))
            else:
                self._add(name, stored)
                self._others.append(name)
        for name, stored in copies:
            self._add_copy(name, stored)
        if len(self._adapters) > 1:
            found = " and ".join(str(name or "none") for name in self._adapters)
            needed = f"tensors of one adapter: {' and '.join(self._adapters.values())}"
            raise InputError(file, "adapter names", found=found, needed=needed)

    @property
    def renamed(self) -> tuple[str, ...]:
        """See Layout."""
        return (*self._wrappers, *sorted(self._changes))

    def others(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of biases, and of weights saved whole. Raises InputError for what is neither."""
        if not self._others:
            return (), ()
        from adamergex.checkpoint.whole import found_whole, is_named, widths_of  # few need it

        names = [self._beneath(name) for name in self._others]
        named = {name for name in names if is_named(name, self._config)}
        widths = widths_of(
            self._config,
            (
                (part, self._shapes[self.stored[name]])
                for parts in self.modules.values()
                for part, name in parts.items()
            ),
        )
        unnamed = {n: self._shapes[self.stored[n]] for n in names if n not in named}
        whole = named | found_whole(unnamed, self.modules, widths)
        trained = isinstance(self._config, LoraConfig) and self._config.bias != "none"
        biases = {n for n in names if n not in whole and trained and n.endswith(".bias")}
        for name in names:
            if name not in whole and name not in biases:
                needed = "an adapter's tensor, or a module named in modules_to_save"
                raise InputError(self._file, "tensor", found=self.stored[name], needed=needed)
        return tuple(sorted(biases)), tuple(sorted(whole))

    def _add(self, name: str, stored: str) -> None:
        if name in self.stored:
            found = f"{self.stored[name]} too, which is the same tensor"
            raise InputError(self._file, stored, found=found, needed="one of the two")
        self.stored[name] = stored

    def _add_part(self, part: Part, stored: str) -> None:
        module, kind, name, adapter = part
        self._add(self.modules.setdefault(module, {}).setdefault(kind, name), stored)
        if adapter is not None or None not in self._adapters:
            self._note(adapter, stored, f"without the adapter's name, {adapter}")

    def _add_prompt(self, name: str, stored: str) -> None:
        if name != _PROMPT:
            if self._config.stated.get("prefix_projection"):
                needed = f"{_PROMPT}, what the projection makes of it"
                raise InputError(self._file, "tensor", found=stored, needed=needed)
            self._changes.add(f"{name} as {_PROMPT}")
        self._add(_PROMPT, stored)
        self.modules[_PROMPT] = {"prefix": _PROMPT}

    def _add_copy(self, name: str, stored: str) -> None:
        """A tensor of a module that PEFT keeps twice, named as in the model that was trained.

        PEFT writes it without `modules_to_save.default`, and some of them both ways; then it loads
        the one without.
        """
        plain, adapter = saved_module(name)
        if plain not in self.stored and adapter is not None:
            self._note(adapter, stored, f"without modules_to_save.{adapter}")
            name = plain
        elif plain not in self.stored:
            needed = f"{plain}, the trained one, beside the base model's own"
            raise InputError(self._file, "tensor", found=stored, needed=needed)
        self._add(name, stored)
        self._others.append(name)

    def _note(self, adapter: str | None, stored: str, change: str) -> None:
        self._adapters.setdefault(adapter, stored)
        if adapter is not None:
            self._changes.add(change)

    def _beneath(self, name: str) -> str:
        """The name of a weight or bias of the base model as PEFT has it where LoRA is upon it."""
        module, _, leaf = name.rpartition(".")
        above = module.removesuffix(".base_layer")
        if above == module and module in self.modules:  # PEFT wrote it so before version 0.7
            beneath = f"{module}.base_layer.{leaf}"
            self._changes.add(f"{leaf} as base_layer.{leaf}")
            self._add(beneath, self.stored.pop(name))
            return beneath
        if above != module and above not in self.modules:
            needed = f"{above}.{leaf}, or an adapter's tensors of {above}"
            raise InputError(self._file, "tensor", found=self.stored[name], needed=needed)
        return name


def _is_raw_prompt(name: str) -> bool:
    first, *parts = name.split(".")
    return (first, *parts[1:]) == _RAW_PROMPT


def _needed_parts(config: AdapterConfig) -> set[str]:
    if not isinstance(config, LoraConfig):
        return {"vector"} if config.peft_type == "IA3" else {"prefix"}
    optional = {"magnitude": config.use_dora, "bias": config.lora_bias}
    return {"a", "b", *(part for part, present in optional.items() if present)}


def _check_module(module: str, saved: tuple[str, ...], file: object) -> None:
    """Raises InputError for a module that PEFT would not put an adapter on.

    Args:
        module: The module.
        saved: Names of modules that are saved whole.
        file: Where its tensors are, for the message.
    """
    parts = module.split(".")
    if "base_layer" in parts:
        needed = "a module of the base model: base_layer is what is beneath another adapter"
        raise InputError(file, "module", found=module, needed=needed)
    whole = next((name for name in saved if name in parts), None)
    if whole is not None:
        needed = f"none: PEFT puts no adapter on {whole}, which is saved whole"
        raise InputError(file, module, found="an adapter's tensors", needed=needed)
