"""One model and its tokenizer, resident in this process."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor

from adamergex.algebra import wide
from adamergex.checkpoint import Checkpoint, LoraConfig, model_module, open_checkpoint
from adamergex.errors import InputError
from adamergex.merging import update
from adamergex.models.chat import Chat
from adamergex.models.forward import has_prefix, last_hidden, packed, padded
from adamergex.models.landing import attached, changes_nothing, fits, land, put_back
from adamergex.models.sharding import like
from adamergex.models.sparse import is_sparse, sparse_changes
from adamergex.models.tokens import Tokens, pair_tokens, row_tokens
from adamergex.tasks import Example

__all__ = ["Backbone"]

_UNLIMITED = 2**20
_LOG = logging.getLogger("adamergex")


@dataclass(frozen=True)
class Backbone:
    """A base model, never changed but for the length of a `with`.

    Attributes:
        model: With the output layer that its family trains, in evaluation mode.
        tokenizer: Its tokenizer.
        family: `decoder`, `encoder-decoder` or `encoder`.
        chat: How prompts are put to it as turns of a chat; None for running text.
    """

    model: Any
    tokenizer: Any
    family: str = "decoder"
    chat: Chat | None = None

    def chatting(self, options: Mapping[str, Any] | None) -> Backbone:
        """The same model, asked as its tokenizer's chat template has it.

        Args:
            options: `apply_chat_template`, and with it `system_instruction`; None for running text.

        Raises:
            InputError: It is no decoder.
        """
        if not (options or {}).get("apply_chat_template"):
            return self
        if self.family != "decoder":
            found = f"true, for an {self.family}"
            raise InputError("apply_chat_template", found=found, needed="false, or a decoder")
        return replace(self, chat=Chat((options or {}).get("system_instruction")))

    @property
    def positions(self) -> int:
        """The most tokens that the model takes."""
        config = self.model.config.get_text_config()
        # RoBERTa counts positions from behind the padding token's.
        lost = config.pad_token_id + 1 if "roberta" in config.model_type else 0
        return getattr(config, "max_position_embeddings", _UNLIMITED) - lost

    def tokens(self, row: Example, *, end: bool, max_length: int | None = None) -> Tokens:
        """A row's tokens; see `all_tokens`."""
        return self.all_tokens([row], end=end, max_length=max_length)[0]

    def all_tokens(
        self, rows: Sequence[Example], *, end: bool, max_length: int | None = None
    ) -> list[Tokens]:
        """Each row's tokens; those of an encoder are all prompt.

        Args:
            rows: The rows.
            end: Whether the end-of-text token is to be learnt.
            max_length: The most tokens, and at most what the model takes.
        """
        most = self.positions if max_length is None else min(max_length, self.positions)
        if self.family == "decoder":
            return self._decoder_tokens(rows, end, most)
        if self.family == "encoder-decoder":
            return [pair_tokens(self.tokenizer, row, end=end, most=most) for row in rows]
        texts = [row.prompt or row.completion for row in rows]
        cut = [self.tokenizer(text, truncation=True, max_length=most).input_ids for text in texts]
        return [Tokens(ids, len(ids)) for ids in cut]

    def _decoder_tokens(self, rows: Sequence[Example], end: bool, most: int) -> list[Tokens]:
        if self.chat is None:
            return row_tokens(self.tokenizer, rows, end=end, most=most)
        asked = [row for row in rows if row.prompt]
        made = iter(self.chat.all_tokens(self.tokenizer, asked, end=end, most=most))
        plain = iter(
            row_tokens(self.tokenizer, [r for r in rows if not r.prompt], end=end, most=most)
        )
        return [next(made if row.prompt else plain) for row in rows]

    def hidden(
        self,
        model: Any,
        rows: list[list[int]],
        begins: Sequence[int] | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states of a decoder's rows, one after another: (tokens in all, width).

        No row attends to another, but to what is left out of it by `begins`; see `packed`. Other
        places than those asked for may not be what they should be.
        """
        if has_prefix(model):
            ids, mask = (x.to(self.model.device) for x in padded(rows))
            return last_hidden(model, ids, mask=mask)[mask.bool()]
        ids, positions = (x.to(self.model.device) for x in packed(rows, begins))
        return last_hidden(model, ids, positions=positions, asked=asked)[0]

    @contextmanager
    def adapted(
        self,
        adapter: Path | None,
        *,
        allow_pickle: bool = False,
        notices: list[str] | None = None,
    ) -> Generator[Any]:
        """The model with a PEFT folder on it, or a sparse fine-tuning; as it is where None.

        Args:
            adapter: The folder.
            allow_pickle: Whether adapter_model.bin may be read.
            notices: Takes what a user should know of the adapter; without it that is logged.

        Raises:
            InputError: A tensor of the adapter has no place in the model, or does not fit there.
        """
        if adapter is None:
            yield self.model
            return
        checkpoint = self._checked(adapter, allow_pickle=allow_pickle)
        changes = self._changes(adapter, checkpoint)
        _tell(_said_of(self.model, adapter, checkpoint, changes), notices)
        if checkpoint is None or changes is not None:
            with _added(changes or []):
                yield self.model
            return
        wrapped = attached(self.model, checkpoint)
        try:
            land(wrapped, checkpoint)
            self.check_head(wrapped)
            yield wrapped
        finally:
            self.restored(wrapped)

    @contextmanager
    def upon(self, adapter: Path | None) -> Generator[None]:
        """The base model changed by an adapter, for another to be trained on top of it.

        Raises:
            InputError: An adapter that is more than changes of weights, or does not fit the model.
        """
        changes: list[tuple[Tensor, Tensor]] | None = []
        if adapter is not None:
            checkpoint = self._checked(adapter)
            changes = self._changes(adapter, checkpoint)
            _tell(_said_of(self.model, adapter, checkpoint, changes), None)
        if changes is None:
            needed = "LoRA and a base in float32, to train on top of it"
            raise InputError(adapter, found="another adapter, or another base", needed=needed)
        with _added(changes):
            yield

    def _checked(self, adapter: Path, *, allow_pickle: bool = False) -> Checkpoint | None:
        """The adapter, opened; None for a sparse fine-tuning."""
        return None if is_sparse(adapter) else open_checkpoint(adapter, allow_pickle=allow_pickle)

    def _changes(
        self, adapter: Path, checkpoint: Checkpoint | None
    ) -> list[tuple[Tensor, Tensor]] | None:
        """Each weight that an adapter changes, with its change; None where that is not all."""
        if checkpoint is None:
            return sparse_changes(self.model, adapter)
        return _weight_changes(self.model, checkpoint) if fits(self.model, checkpoint) else None

    def check_head(self, wrapped: Any) -> None:
        """Raises InputError for an adapter on a decoder's output layer: it is run without it."""
        head = wrapped.get_base_model().get_output_embeddings()
        if isinstance(head, BaseTunerLayer | AuxiliaryTrainingWrapper):
            self.restored(wrapped)
            raise InputError("adapter", found="the output layer", needed="layers below it only")

    def restored(self, wrapped: Any) -> None:
        """Takes an adapter off again, and whatever training put on the model with it."""
        # PEFT would leave a trained copy of the head in the place of the base model's own.
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, AuxiliaryTrainingWrapper):
                    setattr(parent, name, child.original_module)
        if not has_prefix(wrapped):  # which leaves the base as it is
            wrapped.unload()
        put_back(wrapped)
        self.settled()

    def settled(self) -> None:
        """Undoes what a training leaves on the base model."""
        # TRL puts a forward of its own on the instance, one around the other at each training.
        vars(self.model).pop("forward", None)
        self.model.requires_grad_(False)
        self.model.eval()


def _weight_changes(model: Any, checkpoint: Checkpoint) -> list[tuple[Tensor, Tensor]] | None:
    """Each weight that a LoRA adapter changes, with its change; None where that is not all it does.

    With the change added to the weight a forward pass costs what the base model's costs, and
    putting an adapter on costs less than PEFT's wrapping of every layer.
    """
    config = checkpoint.config
    if not isinstance(config, LoraConfig) or config.use_dora or config.lora_bias:
        return None
    if checkpoint.layout.biases or checkpoint.layout.whole:
        return None
    changes: list[tuple[Tensor, Tensor]] = []
    for name in checkpoint.layout.modules:
        module = model.get_submodule(model_module(name))
        if not isinstance(module, torch.nn.Linear) or module is model.get_output_embeddings():
            return None
        if module.weight.dtype != torch.float32:  # a small change would be rounded away
            return None
        product = update(checkpoint, name)
        if product.shape != module.weight.shape:
            needed = f"{tuple(module.weight.shape)}, as the base model's weight"
            raise InputError(checkpoint.name, name, "update", found=product.shape, needed=needed)
        b, a = (torch.from_numpy(wide(x)) for x in (product.b, product.a))
        changes.append((module.weight, like(b @ a, module.weight)))
    return changes


def _said_of(
    model: Any,
    adapter: Path,
    checkpoint: Checkpoint | None,
    changes: list[tuple[Tensor, Tensor]] | None,
) -> list[str]:
    """What a user should know of an adapter that is put on a model."""
    said: list[str] = []
    if checkpoint is not None and checkpoint.layout.renamed:
        how = ", ".join(checkpoint.layout.renamed)
        said.append(f"{adapter}: tensor names read as PEFT writes them: {how}")
    if changes is not None:
        idle = not any(bool(change.any()) for _, change in changes)
    else:
        idle = checkpoint is not None and changes_nothing(model, checkpoint)
    return [*said, f"{adapter}: the adapter changes nothing: the base answers"] if idle else said


def _tell(said: list[str], notices: list[str] | None) -> None:
    if notices is not None:
        notices += said
        return
    for line in said:
        _LOG.warning("adamergex: %s", line)


@contextmanager
def _added(changes: list[tuple[Tensor, Tensor]]) -> Generator[None]:
    """The changes added for the length of the block; afterwards every weight is what it was."""
    before = [weight.detach().clone() for weight, _ in changes]
    try:
        for weight, change in changes:
            weight.data += change
        yield
    finally:
        for (weight, _), old in zip(changes, before, strict=True):
            weight.data.copy_(old)
