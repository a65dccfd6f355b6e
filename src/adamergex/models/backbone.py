"""One model and its tokenizer, resident in this process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from adamergex.checkpoint import Checkpoint, LoraConfig, model_module, open_checkpoint
from adamergex.errors import InputError
from adamergex.merging import update
from adamergex.models.builtin import BUILTIN, prepared
from adamergex.tasks import Example

__all__ = ["Backbone", "Tokens", "backbone", "has_prefix", "last_hidden", "packed"]


@dataclass(frozen=True)
class Tokens:
    """One row as token ids.

    Attributes:
        ids: Prompt and completion.
        prompt_length: How many of them are the prompt; at least 1, the beginning-of-text token.
    """

    ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class Backbone:
    """A base model, never changed but for the length of a `with`.

    Attributes:
        model: A causal language model in float32, evaluation mode.
        tokenizer: Its tokenizer.
    """

    model: Any
    tokenizer: Any

    def tokens(self, row: Example, *, end: bool) -> Tokens:
        """A row's tokens, with the end-of-text token if `end`: a model must learn to stop."""
        tok = self.tokenizer
        # Some tokenizers have no beginning-of-text token; what ended one text then begins the next.
        start = tok.eos_token_id if tok.bos_token_id is None else tok.bos_token_id
        prompt = [start, *tok(row.prompt, add_special_tokens=False).input_ids]
        completion = tok(row.completion, add_special_tokens=False).input_ids
        return Tokens([*prompt, *completion, *([tok.eos_token_id] if end else [])], len(prompt))

    def hidden(self, model: Any, rows: list[list[int]]) -> Tensor:
        """The last hidden states of rows one after another: (tokens in all, width).

        No row attends to another.
        """
        if has_prefix(model):
            ids, mask = (x.to(self.model.device) for x in padded(rows))
            return last_hidden(model, ids, mask=mask)[mask.bool()]
        ids, positions = (x.to(self.model.device) for x in packed(rows))
        return last_hidden(model, ids, positions=positions)[0]

    @contextmanager
    def adapted(self, adapter: Path | None) -> Generator[Any]:
        """The model with a PEFT adapter folder on it, or as it is where `adapter` is None."""
        if adapter is None:
            yield self.model
            return
        changes = _weight_changes(self.model, open_checkpoint(adapter))
        if changes is not None:
            with _added(changes):
                yield self.model
            return
        wrapped = PeftModel.from_pretrained(self.model, str(adapter))
        wrapped.eval()
        try:
            self.check_head(wrapped)
            yield wrapped
        finally:
            self.restored(wrapped)

    def check_head(self, wrapped: Any) -> None:
        """Raises InputError for an adapter on the output layer, which is run without it here."""
        head = wrapped.get_base_model().get_output_embeddings()
        if isinstance(head, BaseTunerLayer | AuxiliaryTrainingWrapper):
            self.restored(wrapped)
            raise InputError("adapter", found="the output layer", needed="layers below it only")

    def restored(self, wrapped: Any) -> None:
        """Takes an adapter off again, and whatever training put on the model with it."""
        if not has_prefix(wrapped):  # which leaves the base as it is
            wrapped.unload()
        # TRL puts a forward of its own on the instance, one around the other at each training.
        vars(self.model).pop("forward", None)
        self.model.requires_grad_(False)
        self.model.eval()


def has_prefix(model: Any) -> bool:
    """Whether the adapter on `model` is a prefix: a cache before each row, outside the layers."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def last_hidden(
    model: Any, ids: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """The hidden states below the output layer: (rows, length, width).

    Args:
        model: The base, or the base with an adapter on it.
        ids: Token ids, (rows, length).
        positions: For rows packed into one: positions that start again at 0 with each of them.
        mask: For rows that are padded, as they must be with a prefix: each has a cache of its own.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    inputs: dict[str, Any] = {"position_ids": positions}
    if has_prefix(model):
        assert mask is not None
        prefix: Any = model.active_peft_config
        before = torch.ones(
            len(ids), prefix.num_virtual_tokens, dtype=mask.dtype, device=mask.device
        )
        # PEFT adds a prefix in its wrapper, which is left out here with the output layer.
        inputs = {
            "attention_mask": torch.cat([before, mask], dim=1),
            "past_key_values": model.get_prompt(len(ids)),
        }
    return base.get_decoder()(input_ids=ids, use_cache=False, **inputs).last_hidden_state


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
        try:
            module = model.get_submodule(model_module(name))
        except AttributeError:
            needed = "a module of the base model"
            raise InputError(checkpoint.name, found=name, needed=needed) from None
        if not isinstance(module, torch.nn.Linear) or module is model.get_output_embeddings():
            return None
        product = update(checkpoint, name)
        b, a = (torch.from_numpy(x).to(module.weight) for x in (product.b, product.a))
        changes.append((module.weight, b @ a))
    return changes


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


def packed(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and positions of rows in one sequence, each (1, tokens in all).

    Positions that start again at 0 tell transformers where one row ends and the next begins.
    """
    ids = torch.tensor([[token for row in rows for token in row]])
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    return ids, positions


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of rows filled up on the right, each (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


@lru_cache(maxsize=1)
def backbone(name: str) -> Backbone:
    """The backbone of that name: a Hub id, a folder, or `builtin:gemma-3-270m`.

    Raises:
        InputError: A model that does more to its logits than multiply by the output weights: losses
            and scores are computed from those alone.
    """
    source = str(prepared()) if name == BUILTIN else name
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    _check_output_layer(name, model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    model.requires_grad_(False)
    return Backbone(model, AutoTokenizer.from_pretrained(source))


def _check_output_layer(name: str, model: Any) -> None:
    config = model.config.get_text_config()
    for field in ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier"):
        value = getattr(config, field, None)
        if value not in (None, 1, 1.0):
            raise InputError(name, field, found=value, needed="none")
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise InputError(name, "output layer", found="a bias", needed="none")
