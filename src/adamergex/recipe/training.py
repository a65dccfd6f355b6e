"""What a recipe says of training: how adapters are trained, and by how many processes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

__all__ = ["Parallel", "Section", "Trainer", "Training"]


class Section(BaseModel):
    """A part of a recipe: no key but those that it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Trainer(Section):
    """Names of transformers' TrainingArguments and TRL's SFTConfig; None leaves their default."""

    learning_rate: PositiveFloat | None = None
    num_train_epochs: PositiveFloat | None = None
    max_steps: PositiveInt | None = None
    per_device_train_batch_size: PositiveInt | None = None
    gradient_accumulation_steps: PositiveInt | None = None
    max_length: PositiveInt | None = None
    lr_scheduler_type: str | None = None
    warmup_steps: NonNegativeFloat | None = None
    weight_decay: NonNegativeFloat | None = None
    max_grad_norm: NonNegativeFloat | None = None
    optim: str | None = None
    adam_beta1: NonNegativeFloat | None = None
    adam_beta2: NonNegativeFloat | None = None
    adam_epsilon: PositiveFloat | None = None
    bf16: bool | None = None

    def given(self) -> dict[str, Any]:
        """What is set, under the trainer's names."""
        return {
            key: value
            for key, value in self.model_dump(include=set(Trainer.model_fields)).items()
            if value is not None
        }


class SparseTrainer(Trainer):
    """Also `density`: the share of the model's weights that LT-SFT changes."""

    density: Annotated[float, Field(gt=0, le=1)] = 0.05


class StepTraining(Section):
    """What is different for one kind of adapter."""

    task: Trainer = Trainer()
    target_ft: Trainer = Field(default=Trainer(), alias="target-ft")
    few_shot: Trainer = Field(default=Trainer(), alias="few-shot")
    projection: Trainer = Trainer()
    projection_from_t: Trainer = Field(default=Trainer(), alias="projection-from-t")
    projection_soft: Trainer = Field(default=Trainer(), alias="projection-soft")
    projection_with_source: Trainer = Field(default=Trainer(), alias="projection-with-source")
    madx: Trainer = Trainer()
    lt_sft: SparseTrainer = Field(default=SparseTrainer(), alias="lt-sft")


_EXECUTION = {
    "gradient_checkpointing",
    "report_to",
    "logging_steps",
    "dataloader_num_workers",
    "dataloader_prefetch_factor",
    "dataloader_pin_memory",
}


def _trackers(value: Any) -> Any:
    if value in (None, "none"):
        return ()
    return value if isinstance(value, list | tuple) else [value]


class Training(Trainer):
    """How every adapter is trained, and what is different for some of them.

    What is a Trainer's changes results, and all the rest but `vocabulary` and `per_step` does not.

    Attributes:
        vocabulary: `full`, or `in-use`: the softmax over only those tokens that an adapter's own
            completions use, of a task those of all choices: faster, and another loss (see
            docs/footguns.md).
        per_step: Differences for some of the methods that are compared. Those of `task` are for T
            and `target-ft-fresh`; those of a reference stand under `reference.training`.
        gradient_checkpointing: Whether layers are run again on the way back, for less memory.
        report_to: The trackers that losses are sent to.
        logging_steps: How many optimiser steps lie between two reports; 10 by default.
        dataloader_num_workers: Processes that make batches ready; 0 for the one that trains.
        dataloader_prefetch_factor: Batches that each of those has ready.
        dataloader_pin_memory: Whether batches are put where a GPU copies them from faster.
    """

    learning_rate: PositiveFloat | None = 2e-4
    num_train_epochs: PositiveFloat | None = 3
    per_device_train_batch_size: PositiveInt | None = 16
    lr_scheduler_type: str | None = "cosine"
    warmup_steps: NonNegativeFloat | None = 0.05
    max_grad_norm: NonNegativeFloat | None = 1.0
    weight_decay: NonNegativeFloat | None = 0.0
    max_length: PositiveInt | None = 1024
    vocabulary: Literal["full", "in-use"] = "full"
    per_step: StepTraining = StepTraining()
    gradient_checkpointing: bool = False
    report_to: Annotated[
        tuple[Literal["trackio", "wandb", "tensorboard", "mlflow"], ...], BeforeValidator(_trackers)
    ] = ()
    logging_steps: PositiveInt | None = None
    dataloader_num_workers: NonNegativeInt = 0
    dataloader_prefetch_factor: PositiveInt | None = None
    dataloader_pin_memory: bool = False

    def execution(self) -> dict[str, Any]:
        """What is set of how trainings are carried out, under the trainer's names."""
        found = self.model_dump(include=_EXECUTION, exclude_defaults=True)
        if self.report_to:
            found |= {"report_to": [*self.report_to], "logging_strategy": "steps"}
            found |= {"logging_steps": self.logging_steps or 10}
        return found

    @model_validator(mode="after")
    def _together(self) -> Training:
        if self.logging_steps is not None and not self.report_to:
            raise ValueError("report_to with logging_steps; records have the loss of every step")
        if self.dataloader_prefetch_factor is not None and not self.dataloader_num_workers:
            raise ValueError("dataloader_num_workers with dataloader_prefetch_factor")
        return self


class Parallel(Section):
    """How many processes of a machine share one training: what is learnt is the same.

    Attributes:
        processes: How many, on a GPU each if there are any.
        shard: Whether they divide the base model's layers among them, for a model that fits on one
            GPU, but not beside what training it needs.
    """

    processes: PositiveInt = 1
    shard: bool = False

    @model_validator(mode="after")
    def _several(self) -> Parallel:
        if self.shard and self.processes == 1:
            raise ValueError("processes: 2 or more, for shard to divide a model among them")
        return self
