"""TRL's trainer, with the output layer cut to where, and to what, a loss needs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.models import last_hidden
from adamergex.train.loss import summed_cross_entropy

__all__ = ["AdapterTrainer", "BelowTheHead", "LossesKept"]


class LossesKept:
    """Keeps the loss of each optimiser step in `losses`: a mixin for trainers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []
        self._part_of_step = 0.0

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See transformers' Trainer."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        own = (loss[0] if isinstance(loss, tuple) else loss).detach()
        accelerator: Any = self.accelerator  # type: ignore[attr-defined]
        self._part_of_step += float(accelerator.reduce(own, "mean"))
        if accelerator.sync_gradients:  # else more are to come
            self.losses.append(self._part_of_step)
            self._part_of_step = 0.0
        return loss


class BelowTheHead:
    """A trainer whose loss is computed from hidden states, in `_summed`: a mixin for trainers.

    Several processes share each batch, row by row: what an update is made from does not depend on
    how many they are.
    """

    accelerator: Any
    model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        count, index = self.accelerator.num_processes, self.accelerator.process_index
        if count > 1:
            self.data_collator = _share(self.data_collator, index, count)
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

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """See transformers' Trainer."""
        assert not return_outputs  # which only an evaluation asks for
        inner = self.accelerator.unwrap_model(model)
        # accelerate puts its autocast around the whole model's forward, which is not called here.
        with self.accelerator.autocast():
            if self.accelerator.num_processes == 1:
                total, count = self._summed(inner, inputs)
            else:
                # DistributedDataParallel sees to gradients around its own forward alone.
                with _forward(inner, lambda inputs: self._summed(inner, inputs)):
                    total, count = model(inputs=inputs)
        total = total * self.accelerator.num_processes  # over which gradients are averaged
        return total / (count if num_items_in_batch is None else num_items_in_batch)

    def _summed(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The loss of a batch, summed over its labels, and how many there are."""
        raise NotImplementedError


def _share(collate: Callable[[Any], Any], index: int, count: int) -> Callable[[Any], Any]:
    """A collator of every `count`-th row; where there is none, of one without labels."""

    def collated(rows: Sequence[Any]) -> dict[str, Any]:
        own = rows[index::count]
        batch = collate(own or rows[:1])
        return batch if own else {**batch, "labels": torch.full_like(batch["labels"], -100)}

    return collated


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


class _CompletionTrainer(BelowTheHead, SFTTrainer):
    """See AdapterTrainer."""

    def __init__(self, *args: Any, vocabulary: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._vocabulary = None if vocabulary is None else torch.tensor(vocabulary)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None for a checkpoint: nobody reads it."""

    def _summed(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        hidden = last_hidden(
            model,
            inputs["input_ids"],
            positions=inputs.get("position_ids"),
            mask=inputs.get("attention_mask"),
        )
        labels = inputs["labels"][:, 1:]
        wanted = labels != -100
        head, places = model.get_output_embeddings().weight, labels[wanted]
        if self._vocabulary is not None:
            vocabulary = self._vocabulary.to(labels.device)
            # The vocabulary is sorted and holds every label: this finds each label's place in it.
            head, places = head[vocabulary], torch.searchsorted(vocabulary, places)
        return summed_cross_entropy(hidden[:, :-1][wanted], head, places), wanted.sum()


class AdapterTrainer(LossesKept, _CompletionTrainer):
    """SFTTrainer that computes logits only where there is a label, and keeps its losses.

    With a large vocabulary and a small model the output layer is most of the arithmetic, and of a
    prompt no token carries loss. The loss is SFTTrainer's own. Given `vocabulary` it is the
    cross-entropy among those tokens only: another loss, by which tokens outside are never pushed
    down. Measured in benchmarks/RESULTS.md.

    Args:
        vocabulary: Token ids, sorted; they must include every label. None for all tokens.
        args: As SFTTrainer takes them, with `padding_free` set but for a prefix.
    """
