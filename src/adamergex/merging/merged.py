"""What merging or combining adapters comes to, known before it is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from adamergex.checkpoint import (
    Checkpoint,
    NDArray,
    TensorInfo,
    base_fields,
    is_builtin,
    notice_of_base,
)
from adamergex.merging.saving import Outcome, save_adapter, served
from adamergex.merging.units import Outline, Unit, renamings, written_config

__all__ = ["Merged"]


class Merged:
    """A result whose inputs are checked and whose tensors are computed when they are asked for.

    Args:
        roles: Role -> input. The first gives the config and the weights that are saved whole.
        outline: What the adapters' own tensors come to.
        others: Units of all other tensors.
        facts: What is said of it beside what follows from these.
        base_model: See `merge`.

    Attributes:
        roles: The inputs.
        outline: Space, dtype, rank.
    """

    def __init__(
        self,
        roles: Mapping[str, Checkpoint],
        outline: Outline,
        others: Sequence[Unit],
        facts: Mapping[str, Any],
        base_model: str | None = None,
    ) -> None:
        self.roles = roles
        self.outline = outline
        self._task = next(iter(roles.values()))
        self._units: list[Unit] = [*outline.units, *others]
        self._facts = facts
        self._base = base_fields(base_model)

    @cached_property
    def config(self) -> dict[str, object]:
        """The adapter_config.json of the result."""
        return {**written_config(self._task, self.outline), **self._base}

    @cached_property
    def tensor_infos(self) -> dict[str, TensorInfo]:
        """Tensor name -> shape and dtype of the result, known before anything is computed."""
        return {name: info for unit in self._units for name, info in unit.tensors.items()}

    def tensors(self) -> Iterator[tuple[str, NDArray]]:
        """The result's tensors in float32 or better, one module in memory at a time."""
        for unit in self._units:
            yield from unit.compute().values.items()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What is done, before it is done: for people, --dry-run and --json."""
        others = list(self.roles.values())[1:]
        stated = [c.config.stated.get("base_model_name_or_path") for c in self.roles.values()]
        return {
            "structure": self._task.config.peft_type,
            "space": self.outline.space,
            **self._facts,
            "rank": self.outline.rank,
            **served(self.config, self.tensor_infos),
            "exact": self.outline.exact and not self.outline.rounds,
            "cut": not self.outline.exact,
            "dtype": self.outline.dtype,
            "builtin": any(map(is_builtin, stated)),
            "modules": len(self.outline.units),
            "bytes": sum(info.nbytes for info in self.tensor_infos.values()),
            "renamed": renamings(self.roles),
            "kept_from_task": list(self._task.layout.whole),
            "ignored_in_references": sorted({x for c in others for x in c.layout.whole}),
        }

    @property
    def notices(self) -> list[str]:
        """What a user is to be warned of. It may name places here, and is not written anywhere."""
        notice = notice_of_base(self.config)
        return [notice] if notice else []

    def save(self, path: str | Path, *, overwrite: bool = False) -> Outcome:
        """Computes the adapter and writes it as a PEFT folder, whole or not at all.

        Args:
            path: The folder to make.
            overwrite: Whether an adapter folder that is there may be replaced.

        Raises:
            InputError: The path may not be written; a tensor holds NaN or infinity, or does not fit
                the dtype it is to be stored in.
        """
        return save_adapter(
            Path(path),
            self._units,
            config=self.config,
            summary=self.summary,
            inputs=self.roles,
            overwrite=overwrite,
        )
