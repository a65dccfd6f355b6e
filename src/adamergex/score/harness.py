"""The fast scorer as a model of lm-evaluation-harness: `--model adamergex`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, own_backbone
from adamergex.recipe import PlacedModelKwargs, placed_model_kwargs
from adamergex.score.decoders import Answer, token_likelihoods

__all__ = ["HarnessModel"]

_HFLM: Any = HFLM  # its decorator hides what it is from type checkers

_OPTIONS = ("pretrained", "peft", "batch_size", "max_length", "add_bos_token")
_BATCH = 32
"""Rows written at once: a step costs about as much for many rows as for one."""


@register_model("adamergex")
class HarnessModel(_HFLM):
    """lm-evaluation-harness's HFLM, with the likelihoods of a decoder computed as they are here.

    Prompts, templates, tokens and free text are HFLM's. The choices of a prompt are scored
    together, with the prompt run once; an adapter stands in the weights.

    Args:
        pretrained: See models.backbone, of which this has a copy of its own; or a backbone.
        peft: A PEFT folder.
        batch_size: Of free text alone; likelihoods fill batches by tokens. 1, lm_eval's default, is
            taken as 32.
        max_length: The most tokens of prompt and answer together.
        add_bos_token: Whether texts begin with that token; None for the tokenizer's own way.
        options: dtype, attn_implementation, quantization and device_map; see models.backbone. All
            others are refused, but for `device` and `max_batch_size`, which lm_eval always gives:
            the model is on a GPU where there is one.

    Raises:
        InputError: An encoder; an option that there is not.
    """

    def __init__(
        self,
        pretrained: str | Backbone,
        peft: str | None = None,
        batch_size: int | str | None = None,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        **options: Any,
    ) -> None:
        given = {key: options.pop(key) for key in PlacedModelKwargs.model_fields if key in options}
        how = placed_model_kwargs(given, "--model_args")
        unknown = options.keys() - {"device", "max_batch_size"}
        if unknown:
            needed = ", ".join((*_OPTIONS, *PlacedModelKwargs.model_fields))
            raise InputError("--model_args", found=", ".join(sorted(unknown)), needed=needed)
        # Not the one that others in this process have: the adapter stays in its weights.
        base = own_backbone(pretrained, how=how) if isinstance(pretrained, str) else pretrained
        if base.family == "encoder":
            needed = "a decoder or an encoder-decoder, which can write free text"
            raise InputError("model", found="an encoder", needed=needed)
        logging.getLogger("lm_eval.models.huggingface").setLevel(logging.ERROR)
        tok = base.tokenizer
        if add_bos_token:
            tok = _beginning_texts(tok)
        super().__init__(
            pretrained=base.model,
            backend="causal" if base.family == "decoder" else "seq2seq",
            tokenizer=tok,
            batch_size=_BATCH if batch_size in (None, 1, "1") else batch_size,
            max_length=base.positions if max_length is None else max_length,
            add_bos_token=add_bos_token,
        )
        self.base = base
        adapter = None if peft is None else Path(peft)
        self._put_on = ExitStack()  # the adapter, for as long as this lives
        self._model = self._put_on.enter_context(base.adapted(adapter))

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
        **options: Any,
    ) -> list[Answer]:
        if self.base.family != "decoder":
            return super()._loglikelihood_tokens(requests, disable_tqdm, **options)
        together: dict[tuple[int, ...], list[int]] = {}
        for i, (_, prompt, _) in enumerate(requests):
            together.setdefault(tuple(prompt), []).append(i)
        rows = [[self._tokens(*requests[i][1:]) for i in row] for row in together.values()]
        found: dict[int, Answer] = {}
        for row, answers in zip(
            together.values(), token_likelihoods(self.base, self._model, rows), strict=True
        ):
            found.update(zip(row, answers, strict=True))
        for i, (key, _, _) in enumerate(requests):
            if key is not None:  # as it is for the parts of a whole text
                self.cache_hook.add_partial("loglikelihood", key, found[i])
        return [found[i] for i in range(len(requests))]

    def _tokens(self, prompt: list[int], answer: list[int]) -> Tokens:
        """As HFLM cuts them: on the left, and the last token is not run."""
        ids = [*prompt, *answer][-(self.max_length + 1) :]
        if not answer:  # which would be as likely as anything can be
            raise InputError("request", found="a continuation without a token", needed="text")
        if len(ids) <= len(answer):
            found = f"an answer of {len(answer)} tokens"
            raise InputError("max_length", found=found, needed=f"{self.max_length} or fewer")
        return Tokens(ids, len(ids) - len(answer))


def _beginning_texts(tok: Any) -> Any:
    """A copy of a tokenizer that adds its beginning-of-text token by itself.

    The backbone's own is left as it is: others count tokens by it.
    """
    tok = deepcopy(tok)
    if tok.bos_token_id is not None and tok("a").input_ids[0] != tok.bos_token_id:
        tok.add_bos_token = True
    return tok
