"""What a merge is made of: units that know their output's shapes before any tensor is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from adamergex.algebra import Additive, transferred, wide
from adamergex.checkpoint import Checkpoint, Dtype, NDArray, TensorInfo, targets, widest
from adamergex.merging.three import Three

__all__ = [
    "Computed",
    "Outline",
    "Unit",
    "additive",
    "kept",
    "renamings",
    "stored_dtype",
    "wide_part",
    "written_config",
]


@dataclass(frozen=True)
class Computed:
    """The tensors of one unit, and what it cost to make them.

    Attributes:
        values: Tensor name -> array: as stored where it is copied, else in float32 or better.
        lost: Frobenius norm of what a truncation cut off.
        norm: Frobenius norm of the whole, where there was a truncation.
        guarded: Elements whose ratio was left at 1, see algebra.ia3.
    """

    values: Mapping[str, NDArray]
    lost: float = 0.0
    norm: float = 0.0
    guarded: int = 0

    @property
    def error(self) -> float:
        """Relative Frobenius error of the truncation."""
        return self.lost / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class Unit:
    """Tensors that are merged together, a module's A and B for instance.

    Attributes:
        name: The module, or the tensor where it stands alone.
        tensors: What it will write.
        compute: Reads the inputs and merges them.
    """

    name: str
    tensors: Mapping[str, TensorInfo]
    compute: Callable[[], Computed]


@dataclass(frozen=True)
class Outline:
    """What one structure makes of the three adapters.

    Attributes:
        space: The space it merges in.
        dtype: What the merged tensors are stored in.
        units: One for each module.
        changes: Fields of the task adapter's config that the result changes.
        rank: The rank of a LoRA result.
        exact: Whether nothing is cut off.
        rounds: Whether the stored type rounds an exact result.
    """

    space: str
    dtype: Dtype
    units: list[Unit]
    changes: Mapping[str, object] = field(default_factory=dict[str, object])
    rank: int | None = None
    exact: bool = True
    rounds: bool = False


def written_config(task: Checkpoint, outline: Outline) -> dict[str, object]:
    """The adapter_config.json of a result, by which PEFT finds all of its modules."""
    return task.config.written(**targets(task), **outline.changes)


def renamings(roles: Mapping[str, Checkpoint]) -> dict[str, list[str]]:
    """Role -> how its tensors' names in the file differ from PEFT's; those that do not left out."""
    return {role: list(x.layout.renamed) for role, x in roles.items() if x.layout.renamed}


def wide_part(checkpoint: Checkpoint, module: str, part: str) -> NDArray:
    """One part of one module's adapter, in float32 or better."""
    return wide(checkpoint.part(module, part))


def stored_dtype(checkpoints: Iterable[Checkpoint]) -> Dtype:
    """The narrowest type that holds every value of the adapters' own tensors."""
    return widest(
        c.tensors[name].dtype
        for c in checkpoints
        for parts in c.layout.modules.values()
        for name in parts.values()
    )


def additive(three: Three, dtype: Dtype | Literal["auto"], scale: float) -> list[Unit]:
    """Units of the base model's biases that were trained with the adapters.

    They are stored as values, not as changes: the base's share cancels in Rt - Rs.
    """

    def unit(name: str) -> Unit:
        def compute() -> Computed:
            t, rt, rs = (c.read(name) for c in three)
            value = transferred(
                Additive(), task=t, reference_target=rt, reference_source=rs, scale=scale
            )
            return Computed({name: value})

        infos = [c.tensors[name] for c in three]
        stored = widest(info.dtype for info in infos) if dtype == "auto" else dtype
        return Unit(name, {name: TensorInfo(infos[0].shape, stored)}, compute)

    return [unit(name) for name in three.task.layout.biases]


def kept(task: Checkpoint) -> list[Unit]:
    """Units of the weights that the task adapter saved whole: copied as they are."""

    def unit(name: str) -> Unit:
        return Unit(name, {name: task.tensors[name]}, lambda: Computed({name: task.read(name)}))

    return [unit(name) for name in task.layout.whole]
