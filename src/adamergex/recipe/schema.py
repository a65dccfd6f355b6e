"""The recipe of an experiment, and that of the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEMO", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """An experiment.

    Attributes:
        model: The backbone: `builtin:gemma-3-270m`, a folder or a Hub id.
        adapter: PEFT's config: `type` (lora, ia3, prefix) and PEFT's own names.
        task: The target task.
        source: The language that has labels.
        targets: The languages to serve.
        merges: (reference task, space) of each way to merge; the first reference task is the one
            that rival methods use as well.
        scales: t, without the 0 that is always in the running.
        training: Names and values of SFTConfig, for every adapter.
        reference_training: Those that differ, by reference task.
        seed: Of initialisation and order, one for all adapters.
    """

    model: str
    adapter: Mapping[str, Any]
    task: str
    source: str
    targets: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    scales: tuple[float, ...]
    training: Mapping[str, Any]
    reference_training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0

    @property
    def references(self) -> tuple[str, ...]:
        """The reference tasks, each once, in the order of `merges`."""
        return tuple(dict.fromkeys(reference for reference, _ in self.merges))


DEMO = Recipe(
    model="builtin:gemma-3-270m",
    adapter={"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    task="emoji",
    source="en",
    targets=("fa", "tr"),
    # Translation helped on dev and causal LM did not; the third is the method as published.
    merges=(("translation", "weight"), ("translation", "factor"), ("causal-lm", "factor")),
    scales=(0.25, 0.5, 1.0),
    training={
        "learning_rate": 2e-4,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 3,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
    },
    reference_training={"causal-lm": {"num_train_epochs": 1}},
)
