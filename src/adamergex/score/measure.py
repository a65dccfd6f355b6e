"""Questions put to a model, and what its answers are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adamergex.errors import InputError
from adamergex.models import Backbone, backbone, backbone_family
from adamergex.score.choices import likelihoods
from adamergex.score.generation import generations
from adamergex.score.statistics import mean, standard_error
from adamergex.tasks import Item, Questions, questions

__all__ = ["each_scored", "ensembled", "measured", "scored"]


def scored(
    model: str,
    adapter: Path | None,
    asked: Mapping[str, Any],
    files: Mapping[str, Path],
    prompting: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A model, or an adapter on it, measured on the questions that a description means.

    Arguments and what is returned as in each_scored, of one adapter, or None for the base alone.
    """
    return next(each_scored(model, [adapter], asked, files, prompting, **options))


def each_scored(
    model: str,
    adapters: Sequence[Path | None],
    asked: Mapping[str, Any],
    files: Mapping[str, Path],
    prompting: Mapping[str, Any] | None = None,
    *,
    allow_pickle: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    chat: Mapping[str, Any] | None = None,
) -> Generator[dict[str, Any]]:
    """Several adapters measured one after the other on one base, and on the same questions.

    Args:
        model: See models.backbone.
        adapters: PEFT folders; None among them for the base alone.
        asked: See tasks.data.
        files: SHA-256 -> path, for `asked`.
        prompting: See `measured`.
        allow_pickle: Whether adapter_model.bin may be read.
        model_kwargs: See models.backbone.
        chat: See Backbone.chatting.

    Yields:
        As `measured`; `example`, the first question's prompt and choices; and `notices` where there
        is something to know of the rows or the adapter.
    """
    found = questions(asked, files)
    encoder = backbone_family(model) == "encoder"
    base = backbone(model, len(found.items[0].choices) if encoder else None, model_kwargs)
    base = base.chatting(chat)
    first = found.items[0]
    example = {"prompt": first.prompt, "choices": list(first.choices)}
    for adapter in adapters:
        said = [*found.left_out]
        with base.adapted(adapter, allow_pickle=allow_pickle, notices=said) as adapted:
            record = measured(base, adapted, found, prompting) | {"example": example}
        yield record | ({"notices": said} if said else {})


def measured(
    backbone: Backbone, model: Any, asked: Questions, prompting: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A model's answers to all questions and, where these have labels, what they score.

    Args:
        backbone: Tokenizer and base.
        model: The base, or the base with an adapter on it.
        asked: The questions of one task and language.
        prompting: `kind` xlt, with the names of the `language` and of the one to `retell_in`.

    Returns:
        n; predictions (an index, by the task's first metric, or a text for each item);
        log_likelihoods (of each choice; None for free answers). With labels also metric (the task's
        first that is a mean over items of which more is better), values (for each item), score
        (their mean), standard_error, metrics (all of them), chance and majority (None for free
        answers).

    Raises:
        InputError: No such metric.
    """
    items = asked.items
    if prompting is not None:
        items = _thought_over(backbone, model, items, prompting)
    if items[0].choices:
        scored = likelihoods(backbone, model, items)
        answers: Sequence[Sequence[Any]] = scored
        logs = [[float(log) for log, _ in row] for row in scored]
        given: list[Any] = asked.chosen(logs)
    else:
        given, logs = generations(backbone, model, items), None
        answers = [[text] for text in given]
    record = {"n": len(items), "predictions": given, "log_likelihoods": logs}
    return record | (_scores(asked, answers) if asked.labelled else {})


def ensembled(asked: Questions, members: Sequence[Sequence[Sequence[float]]]) -> dict[str, Any]:
    """The mean, over several models, of the probabilities of each choice among its item's.

    Args:
        asked: The questions of one task and language.
        members: Of each model the log-likelihoods that `measured` found: of each choice of each
            item. An item's choices are compared as its accuracy does, by length or not.

    Returns:
        As `measured`. Whether an answer is what a model would write by itself is not known: no
        metric may ask for it.
    """
    items = asked.items
    logs = [_averaged(rows, item.weights) for item, *rows in zip(items, *members, strict=True)]
    answers = [[(log, False) for log in row] for row in logs]
    record = {"n": len(items), "predictions": asked.chosen(logs), "log_likelihoods": logs}
    return record | _scores(asked, answers)


def _averaged(rows: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Log-likelihoods whose softmax is the mean of those of `rows`; of equal rows, the same."""
    by = np.asarray(weights or 1.0)
    scores = np.asarray(rows) * by
    totals = np.logaddexp.reduce(scores, axis=1, keepdims=True)
    mean = np.logaddexp.reduce(scores - totals, axis=0) - np.log(len(rows)) + totals.mean()
    return (mean / by).tolist()


def _scores(asked: Questions, answers: Sequence[Sequence[Any]]) -> dict[str, Any]:
    found = asked.measured(answers)
    metric = next((name for name in found if _is_mean(asked, name, found[name])), None)
    if metric is None:
        names, needed = ", ".join(found), "a mean over items, of which more is better"
        raise InputError(asked.name, "metric_list", found=names, needed=needed)
    values = found[metric]
    golds = [item.gold for item in asked.items]
    closed = golds[0] is not None
    return {
        "metric": metric,
        "values": values,
        "score": mean(values),
        "standard_error": standard_error(values),
        "metrics": {name: asked.aggregated(name, each) for name, each in found.items()},
        "chance": mean([1 / len(item.choices) for item in asked.items]) if closed else None,
        "majority": Counter(golds).most_common(1)[0][1] / len(golds) if closed else None,
    }


def _is_mean(asked: Questions, metric: str, values: Sequence[Any]) -> bool:
    return asked.higher_is_better(metric) and all(isinstance(value, float) for value in values)


def _thought_over(
    backbone: Backbone, model: Any, items: Sequence[Item], prompting: Mapping[str, Any]
) -> list[Item]:
    """XLT: each question again, after what the model wrote when asked to retell and to think."""
    if prompting["kind"] != "xlt":
        raise InputError("prompting", found=prompting["kind"], needed="xlt")
    before = f"You are an expert who reads {prompting['language']}.\n"
    after = (
        f"\n\nFirst retell this in {prompting['retell_in']}. Then think about it step by step.\n"
        "Retelling:"
    )
    thoughts = [
        replace(
            item,
            prompt=f"{before}{item.prompt}{after}",
            choices=(),
            until=("\n\n",),
            max_gen_toks=64,
            tail=item.tail and item.tail + len(after),
        )
        for item in items
    ]
    written = generations(backbone, model, thoughts)
    return [
        replace(item, prompt=f"{thought.prompt}{text}\n\n{item.prompt}")
        for item, thought, text in zip(items, thoughts, written, strict=True)
    ]
