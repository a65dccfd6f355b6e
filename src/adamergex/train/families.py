"""The trainer of each family of backbone, on rows that are tokens already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from trl.trainer.sft_config import SFTConfig

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens
from adamergex.tasks import Example
from adamergex.train.parts import tokens_at_once
from adamergex.train.trainer import AdapterTrainer, SummedLoss

__all__ = ["made_trainer", "on_one_device"]


class _PlainTrainer(SummedLoss, Trainer):
    """transformers' trainer, with the model's own loss."""

    def _summed(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        count = (inputs["labels"] != -100).sum()
        if count == 0:  # no token of a short row may be masked, and there is no mean over none
            return 0 * next(p for p in model.parameters() if p.requires_grad).sum()
        return Trainer.compute_loss(self, model, inputs) * count  # which is a mean

    def _cost(self, rows: Sequence[Mapping[str, Any]]) -> int:
        fields = [name for name in ("input_ids", "labels") if isinstance(rows[0].get(name), list)]
        return sum(tokens_at_once([len(row[f]) for row in rows], packed=False) for f in fields)


def made_trainer(
    backbone: Backbone,
    model: Any,
    rows: Sequence[Example],
    tokens: Sequence[Tokens],
    *,
    arguments: Mapping[str, Any],
    packing: bool,
    vocabulary: list[int] | None,
) -> Any:
    """A trainer that is ready to train.

    Decoders learn completions with TRL's SFTTrainer; encoder-decoders learn them from the prompt;
    encoders learn the label, or, where rows have none, to fill in masked tokens.
    """
    if backbone.family == "decoder":
        trainer: Any = AdapterTrainer(
            model=model,
            args=on_one_device(
                SFTConfig(
                    padding_free=packing,
                    max_length=None,  # rows are cut already
                    dataset_kwargs={"skip_prepare_dataset": True},
                    **arguments,
                )
            ),
            train_dataset=_completions(tokens, masked=True),
            processing_class=backbone.tokenizer,
            vocabulary=vocabulary,
        )
    else:
        data, collator = _other(backbone, rows, tokens)
        if "labels" not in data.column_names:
            # The collator draws what is masked, and processes of its own would draw it otherwise.
            alone = {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}
            arguments = {**arguments, **alone}
        options = on_one_device(TrainingArguments(**arguments))
        if options.world_size > 1:  # its loss is a mean, and that of shares of a batch another one
            needed = f"1, for an {backbone.family}"
            raise InputError("parallel", "processes", found=options.world_size, needed=needed)
        trainer = _PlainTrainer(
            model=model,
            args=options,
            train_dataset=data,
            data_collator=collator,
            processing_class=backbone.tokenizer,
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def on_one_device(arguments: Any) -> Any:
    """A process trains on one GPU: with DataParallel the batch would grow with the machine."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _other(backbone: Backbone, rows: Sequence[Example], tokens: Sequence[Tokens]) -> Any:
    """Rows and collator of an encoder-decoder or an encoder."""
    tok = backbone.tokenizer
    if backbone.family == "encoder-decoder":
        return _completions(tokens, masked=False), DataCollatorForSeq2Seq(tok, backbone.model)
    labels = [row.label for row in rows if row.prompt]
    if not labels:
        data = Dataset.from_list([{"input_ids": t.ids} for t in tokens])
        return data, DataCollatorForLanguageModeling(tok, mlm=True)
    pairs = zip(tokens, labels, strict=True)
    data = Dataset.from_list([{"input_ids": t.ids, "labels": label} for t, label in pairs])
    return data, DataCollatorWithPadding(tok)


def _completions(tokens: Sequence[Tokens], *, masked: bool) -> Dataset:
    """Rows for a decoder (prompt and completion in one, the prompt masked), or for a pair."""
    return Dataset.from_list(
        [
            {
                "input_ids": t.ids if masked else t.ids[: t.prompt_length],
                "labels": [-100] * (t.prompt_length * masked) + t.ids[t.prompt_length :],
            }
            for t in tokens
        ]
    )
