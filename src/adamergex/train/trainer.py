"""Trainers that take an update's rows a few at a time, and compute only what a loss needs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.models import Head, last_hidden
from adamergex.train.loss import summed_cross_entropy
from adamergex.train.parts import in_parts, tokens_at_once

__all__ = ["AdapterTrainer", "SummedLoss"]

_TOKENS = 256
"""How many go through the model at once on a processor: what is kept of them for the way back is
most of what a training holds beside the base. Measured in benchmarks/RESULTS.md."""

_GPU_TOKENS = 8192
"""The same on a GPU, which small products leave idle."""


class SummedLoss:
    """A trainer whose loss is summed over labels, in `_summed`: a mixin for trainers.

    The rows of a batch go through the model in parts, one after the other: memory does not grow
    with the batch, and the gradient is that of the whole. Several processes share each part, row by
    row: what an update is made from does not depend on how many they are.

    Attributes:
        losses: The loss of each optimiser step.
    """

    accelerator: Any
    model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # how many labels an accumulated step has in all
        self.losses: list[float] = []
        self._part_of_step = 0.0
        count, index = self.accelerator.num_processes, self.accelerator.process_index
        most = _TOKENS if self.accelerator.device.type == "cpu" else _GPU_TOKENS
        self.data_collator = in_parts(self.data_collator, self._cost, most, index, count)
        if count > 1:
            # The same in all from the start, or divided among them: not to be sent round.
            frozen = [n for n, p in self.model.named_parameters() if not p.requires_grad]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, frozen)

    def get_train_dataloader(self) -> Any:
        """See transformers' Trainer."""
        loader = super().get_train_dataloader()  # type: ignore[misc]
        if self.accelerator.num_processes > 1:
            # accelerate would deal whole batches out, and fill the last up with rows seen before.
            sampler = loader.batch_sampler
            sampler.num_processes, sampler.process_index, sampler.even_batches = 1, 0, False
        return loader

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Tensor]:
        """See transformers' Trainer: batches, here lists of parts, and their labels in all."""
        batches, _ = super().get_batch_samples(*args, **kwargs)  # type: ignore[misc]
        own = sum(_labels(part) for parts in batches for part in parts)
        count = torch.tensor(own, device=self.accelerator.device)
        return batches, self.accelerator.reduce(count, "sum").clamp(min=1)

    def training_step(self, model: Any, inputs: Sequence[Any], count: Tensor) -> Tensor:
        """See transformers' Trainer: the loss of a batch, here of its parts, and their gradient."""
        step = super().training_step  # type: ignore[misc]
        *others, last = inputs
        losses: list[Tensor] = []
        with self.accelerator.no_sync(model) if others else nullcontext():
            losses += [step(model, part, count) for part in others]
        losses.append(step(model, last, count))
        loss = torch.stack(losses).sum()
        self._part_of_step += float(self.accelerator.reduce(loss, "mean"))
        if self.accelerator.sync_gradients:  # else more are to come
            self.losses.append(self._part_of_step)
            self._part_of_step = 0.0
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """See transformers' Trainer."""
        assert not return_outputs  # which only an evaluation asks for
        assert num_items_in_batch is not None
        # accelerate puts its autocast around the whole model's forward, which may not be called.
        with self.accelerator.autocast():
            if self.accelerator.num_processes == 1:
                total = self._summed(model, inputs)
            else:
                inner = self.accelerator.unwrap_model(model)
                # DistributedDataParallel sees to gradients around its own forward alone.
                with _forward(inner, lambda inputs: self._summed(inner, inputs)):
                    total = model(inputs=inputs)
        # Gradients are averaged over processes.
        return total * self.accelerator.num_processes / num_items_in_batch

    def _summed(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of a part, summed over its labels."""
        raise NotImplementedError

    def _cost(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """How many tokens go through the model at once with these rows."""
        raise NotImplementedError


def _labels(part: Mapping[str, Any]) -> int:
    return int((part["labels"] != -100).sum())


@contextmanager
def _forward(model: Any, forward: Callable[..., Any]) -> Generator[None]:
    """Another forward pass for a model, for the length of the block."""
    before = vars(model).get("forward")
    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


class AdapterTrainer(SummedLoss, SFTTrainer):
    """SFTTrainer that computes logits only where there is a label, and keeps its losses.

    With a large vocabulary and a small model the output layer is most of the arithmetic, and of a
    prompt no token carries loss. The loss is SFTTrainer's own. Given `vocabulary` it is the
    cross-entropy among those tokens only: another loss, by which tokens outside are never pushed
    down. Measured in benchmarks/RESULTS.md.

    Args:
        vocabulary: Token ids, sorted; they must include every label. None for all tokens.
        args: As SFTTrainer takes them, with `padding_free` set but for a prefix.
    """

    def __init__(self, *args: Any, vocabulary: list[int] | None = None, **kwargs: Any) -> None:
        # TRL has adapters of quantised models in bfloat16, where a small step changes nothing.
        before = [(p, p.data) for p in kwargs["model"].parameters() if p.requires_grad]
        super().__init__(*args, **kwargs)
        for parameter, value in before:
            parameter.data = value.to(parameter.device)
        head = Head.of(self.model)
        self._vocabulary = None
        if vocabulary is not None:
            self._vocabulary = torch.tensor(vocabulary, device=head.weight.device)
            head = head[self._vocabulary]
        self._head = head

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None for a checkpoint: nobody reads it."""

    def _summed(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        labels = inputs["labels"][:, 1:]
        wanted = labels != -100
        positions = inputs.get("position_ids")
        hidden = last_hidden(
            model,
            inputs["input_ids"],
            positions=positions,
            mask=inputs.get("attention_mask"),
            asked=None if positions is None else wanted[0].nonzero().flatten(),
        )
        places = labels[wanted]
        if self._vocabulary is not None:
            # The vocabulary is sorted and holds every label: this finds each label's place in it.
            places = torch.searchsorted(self._vocabulary, places)
        return summed_cross_entropy(hidden[:, :-1][wanted], self._head, places)

    def _cost(self, rows: Sequence[Mapping[str, Any]]) -> int:
        lengths = [len(row["input_ids"]) for row in rows]
        options: Any = self.args
        return tokens_at_once(lengths, packed=options.padding_free)
