"""TRL's trainer, with the output layer cut to the tokens that the experiment writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.models import last_hidden

__all__ = ["AdapterTrainer"]


class AdapterTrainer(SFTTrainer):
    """SFTTrainer whose softmax may run over part of the vocabulary.

    With a large vocabulary and a small model the output layer is most of the arithmetic. Given
    `vocabulary`, the loss is the cross-entropy among those tokens only, at the positions that have
    a label only. That is another loss than over the whole vocabulary: tokens outside are never
    pushed down. With None it is SFTTrainer's own loss. Measured in benchmarks/RESULTS.md.

    Args:
        vocabulary: Token ids, sorted; they must include every label.
        args: As SFTTrainer takes them, with `padding_free` set but for a prefix.
    """

    def __init__(self, *args: Any, vocabulary: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []
        self._part_of_step = 0.0
        self._vocabulary = None if vocabulary is None else torch.tensor(vocabulary)

    def compute_loss(  # noqa: D102 - see SFTTrainer
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if self._vocabulary is None:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        else:
            loss = self._restricted_loss(model, inputs, num_items_in_batch)
        self._part_of_step += float((loss[0] if return_outputs else loss).detach())
        if self.accelerator.sync_gradients:  # else more batches of this step are to come
            self.losses.append(self._part_of_step)
            self._part_of_step = 0.0
        return loss

    def _restricted_loss(self, model: Any, inputs: dict[str, Any], count: Any) -> Tensor:
        model = self.accelerator.unwrap_model(model)
        hidden = last_hidden(
            model,
            inputs["input_ids"],
            positions=inputs.get("position_ids"),
            mask=inputs.get("attention_mask"),
        )
        labels = inputs["labels"][:, 1:]
        wanted = labels != -100
        assert self._vocabulary is not None
        vocabulary = self._vocabulary.to(labels.device)
        logits = hidden[:, :-1][wanted] @ model.get_output_embeddings().weight[vocabulary].T
        # The vocabulary is sorted and holds every label, so this finds each label's place in it.
        places = torch.searchsorted(vocabulary, labels[wanted])
        total = functional.cross_entropy(logits.float(), places, reduction="sum")
        return total / (wanted.sum() if count is None else count)
