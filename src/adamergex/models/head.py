"""A model's output layer: what makes logits of hidden states.

Some models do more there than multiply by a weight: Gemma 2 caps its logits, Cohere and Granite
scale them, Phi adds a bias. Whatever makes logits here makes them by a `Head`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adamergex.errors import InputError

__all__ = ["Head", "check_output_layer"]

_TIMES = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap")


@dataclass(frozen=True)
class Head:
    """cap · tanh(scale · (states weightᵀ + bias) / cap), and without a cap what is inside tanh.

    Attributes:
        weight: (vocabulary, width); it must not require a gradient.
        bias: (vocabulary,), or None.
        scale: What products are multiplied by.
        cap: What logits stay below, on either side of 0; None for no such limit.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: Any) -> Head:
        """A model's own, or that of the base with an adapter on it; see `check_output_layer`."""
        layer = model.get_output_embeddings()
        added = (getattr(layer, "bias", None), getattr(model, "final_logits_bias", None))
        biases = [bias.detach().flatten() for bias in added if bias is not None and bias.any()]
        config = model.config.get_text_config(decoder=True)
        scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
        for name in _TIMES:
            value = getattr(config, name, None)
            scale *= value if isinstance(value, int | float) else 1.0
        cap = next((c for name in _CAPS if (c := getattr(config, name, None)) is not None), None)
        return cls(layer.weight, torch.stack(biases).sum(0) if biases else None, scale, cap)

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, tokens: Tensor | slice) -> Head:
        """The output layer of some tokens alone."""
        bias = None if self.bias is None else self.bias[tokens]
        return replace(self, weight=self.weight[tokens], bias=bias)

    def to(self, dtype: torch.dtype) -> Head:
        """With its products in another type."""
        return replace(self, weight=self.weight.to(dtype))

    def split(self, size: int) -> list[Head]:
        """The output layer in parts of so many tokens, the last of fewer."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    def logits(self, states: Tensor) -> Tensor:
        """The logits of states, (n, width) -> (n, vocabulary), in float32."""
        return self.bent((states.to(self.weight.dtype) @ self.weight.T).float())

    def bent(self, found: Tensor) -> Tensor:
        """The logits that products come to, those of all tokens in the last dimension."""
        if self.bias is not None:
            found = found + self.bias
        if self.scale != 1:
            found = found * self.scale
        return found if self.cap is None else (found / self.cap).tanh() * self.cap

    def growth(self, logits: Tensor) -> Tensor | float:
        """How fast logits grow with their products: a number for all, or (n, vocabulary)."""
        return self.scale if self.cap is None else (1 - (logits / self.cap) ** 2) * self.scale

    def pulled(self, slopes: Tensor, growth: Tensor | float) -> Tensor:
        """A gradient by logits, (n, vocabulary), as one by states, (n, width).

        Args:
            slopes: The gradient by logits.
            growth: Of those logits.
        """
        slopes = slopes if isinstance(growth, float) and growth == 1 else slopes * growth
        return slopes.to(self.weight.dtype) @ self.weight


@torch.no_grad()
def check_output_layer(name: str, model: Any) -> None:
    """Runs a model on two tokens, to see that its logits are what `Head` makes of its states.

    Raises:
        InputError: They are not: losses and scores would be wrong without a word.
    """
    head, states = Head.of(model), list[Tensor]()
    ids = torch.tensor([[1, 0]], device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}

    def keep(_: Any, given: Any, made: Any = None) -> None:
        states.append(given[0] if made is None else made.last_hidden_state)

    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
        hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    else:
        hook = model.get_decoder().register_forward_hook(keep)
    try:
        logits = model(**inputs).logits[0]
    finally:
        hook.remove()
    found, wanted = head.logits(states[-1][0]), logits.float()
    room = max(1e-4, 8 * torch.finfo(logits.dtype).eps) * max(1.0, float(wanted.abs().max()))
    if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=0, atol=room):
        needed = "one that multiplies, adds a bias, scales by a number or caps, as its config says"
        raise InputError(name, "output layer", found="another one", needed=needed)
