"""One adapter trained, from rows to a PEFT folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.models import Backbone, Tokens, has_prefix
from adamergex.tasks import Example
from adamergex.train.families import made_trainer
from adamergex.train.fitting import fitted, max_length
from adamergex.train.structures import continued, initialised, save

__all__ = ["train_adapter", "trained", "vocabulary_of"]


def vocabulary_of(backbone: Backbone, rows: Iterable[Example]) -> list[int]:
    """The token ids that occur in the completions of `rows`, the end token among them, sorted."""
    return sorted(_labels(backbone.all_tokens(list(rows), end=True)))


def train_adapter(
    backbone: Backbone,
    rows: Sequence[Example],
    output: Path,
    *,
    adapter: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    vocabulary: list[int] | None = None,
    start: Path | None = None,
    beneath: Path | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Trains one adapter and saves it as a PEFT folder.

    Args:
        backbone: The base model; as it was, when this returns.
        rows: What to train on.
        output: The folder to make.
        adapter: See adapter_config; without effect where there is a `start`.
        training: Names and values of TrainingArguments, and max_length, in tokens.
        seed: Of the initialisation and of the order of the rows.
        vocabulary: See AdapterTrainer; decoders only.
        start: A PEFT folder to go on from, its head too; None to begin with a fresh adapter.
        beneath: An adapter that is on the base meanwhile, frozen, as in MAD-X; no part of the
            result.
        checkpoints: A folder from which a training that was killed goes on; None to keep nothing.

    Raises:
        InputError: No rows; the adapter's type is unknown, it would change the output layer, or
            the vocabulary does not fit the rows; a `start` that was made for another model.

    Returns:
        rows, tokens (of one epoch), steps, the loss of each step, init_sha256 (None after `start`).
    """
    with backbone.upon(beneath):
        tokens = tokenised(backbone, rows, training, vocabulary)
        if start is None:
            model, begun = initialised(backbone, adapter, seed)
        else:
            model, begun = continued(backbone, start), None
        try:
            record = trained(backbone, model, rows, tokens, training, seed, vocabulary, checkpoints)
            save(model, output)
        finally:
            backbone.restored(model)
    return {**record, "init_sha256": begun}


def tokenised(
    backbone: Backbone,
    rows: Sequence[Example],
    training: Mapping[str, Any],
    vocabulary: list[int] | None,
) -> list[Tokens]:
    """The rows as tokens, checked: there are some, and the vocabulary has every label."""
    if not rows:
        raise InputError("training", "rows", found=0, needed="at least one")
    most = max_length(training)
    tokens = backbone.all_tokens(rows, end=True, max_length=most)
    if vocabulary is not None:
        if backbone.family != "decoder":
            needed = f"full, for an {backbone.family}"
            raise InputError("training", "vocabulary", found="in-use", needed=needed)
        _check_vocabulary(vocabulary, _labels(tokens))
    return tokens


def trained(
    backbone: Backbone,
    model: Any,
    rows: Sequence[Example],
    tokens: Sequence[Tokens],
    training: Mapping[str, Any],
    seed: int,
    vocabulary: list[int] | None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Trains what requires a gradient in `model`, the backbone's own or with an adapter on it.

    Where `checkpoints` has one, the training goes on from there, and ends as it would have ended.
    """

    def made(arguments: Mapping[str, Any]) -> Any:
        # A prefix is a cache, and rows packed into one sequence cannot each have their own.
        packing = not has_prefix(model)
        return made_trainer(
            backbone,
            model,
            rows,
            tokens,
            arguments=arguments,
            packing=packing,
            vocabulary=vocabulary,
        )

    found = fitted(backbone, made, training, seed, checkpoints)
    return {"rows": len(rows), "tokens": sum(len(t.ids) for t in tokens), **found}


def _labels(rows: Iterable[Tokens]) -> set[int]:
    return {token for row in rows for token in row.ids[row.prompt_length :]}


def _check_vocabulary(vocabulary: list[int], labels: set[int]) -> None:
    """A label outside it, or out of order, would be trained as another token without a word."""
    if vocabulary != sorted(set(vocabulary)):
        raise InputError("vocabulary", found="token ids out of order", needed="sorted, each once")
    missing = sorted(labels.difference(vocabulary))
    if missing:
        raise InputError("vocabulary", found=f"none of {missing}", needed="every token of a label")
