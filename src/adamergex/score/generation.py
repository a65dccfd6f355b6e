"""Answers in free text, written greedily by lm-evaluation-harness's own model class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from adamergex.errors import InputError
from adamergex.models import Backbone
from adamergex.tasks import Item

__all__ = ["generations"]

_BATCH = 32
"""Rows written at once: a step costs about as much for many rows as for one."""

_LONGEST = 4096
"""Tokens of prompt and answer together; the prompt is cut on the left."""


def generations(backbone: Backbone, model: Any, items: Sequence[Item]) -> list[str]:
    """What a model writes after each prompt, up to the item's `until` or `max_gen_toks`.

    Never more than half of what the model takes: the prompt needs room, too.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        items: Items with free answers.

    Raises:
        InputError: An encoder, which does not write.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    if backbone.family == "encoder":
        needed = "a decoder or an encoder-decoder, for answers in free text"
        raise InputError("model", found="an encoder", needed=needed)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    decoder = backbone.family == "decoder"
    length = min(backbone.positions, _LONGEST)
    harness: Any = cast(Any, HFLM)(
        pretrained=backbone.model,
        backend="causal" if decoder else "seq2seq",
        tokenizer=backbone.tokenizer,
        batch_size=_BATCH,
        max_length=length,
        add_bos_token=backbone.tokenizer.bos_token_id is not None if decoder else None,
    )
    harness._model = model  # the one with the adapter on it
    requests = [
        Instance(
            "generate_until",
            {},
            (
                item.prompt,
                {
                    "until": list(item.until),
                    "max_gen_toks": min(item.max_gen_toks, length // 2),
                    "do_sample": False,
                },
            ),
            0,
        )
        for item in items
    ]
    return harness.generate_until(requests, disable_tqdm=True)
