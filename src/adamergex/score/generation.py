"""Answers in free text, written greedily by lm-evaluation-harness's own model class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from adamergex.models import Backbone, shortened
from adamergex.tasks import Item

__all__ = ["generations"]

_LONGEST = 4096
"""Tokens of prompt and answer together; the prompt is cut before its tail, or on the left."""


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

    from adamergex.score.harness import HarnessModel

    length = min(backbone.positions, _LONGEST)
    chat, tok = backbone.chat, backbone.tokenizer
    # As likelihoods have it; a chat's template begins texts itself.
    begins = backbone.family == "decoder" and tok.bos_token_id is not None
    harness: Any = cast(Any, HarnessModel)(
        backbone, max_length=length, add_bos_token=False if chat else begins or None
    )
    harness._model = model  # the one with the adapter on it
    requests: list[Instance] = []
    for item in items:
        most = min(item.max_gen_toks, length // 2)
        # An encoder-decoder's prompt has the encoder to itself; both have tokens that begin or end.
        room = length - 2 - (most if backbone.family == "decoder" else 0)
        room -= chat.around(tok) if chat else 0
        prompt = shortened(tok, item.prompt, item.tail, room)
        prompt = chat.prompt(tok, prompt) if chat else prompt
        options = {"until": list(item.until), "max_gen_toks": most, "do_sample": False}
        requests.append(Instance("generate_until", {}, (prompt, options), 0))
    return harness.generate_until(requests, disable_tqdm=True)
