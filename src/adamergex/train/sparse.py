"""LT-SFT: a fine-tuning that changes few weights (arXiv 2110.07560)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adamergex.errors import InputError
from adamergex.models import Backbone, write_sparse
from adamergex.tasks import Example
from adamergex.train.adapter import tokenised, trained

__all__ = ["train_sparse"]


def train_sparse(
    backbone: Backbone,
    rows: Sequence[Example],
    output: Path,
    *,
    density: float,
    training: Mapping[str, Any],
    seed: int,
    vocabulary: list[int] | None = None,
    beneath: Path | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Fine-tunes all weights, keeps the places of those that changed most, trains only them anew.

    Departs from the publication in what may change at all: not the embeddings and the output layer,
    which with a large vocabulary are most of a small model. Of a classification head, which is new,
    all weights change. Weights do not decay, or those that are not trained would move.

    Args:
        backbone: The base model; as it was, when this returns.
        rows: What to train on.
        output: The folder to make; see models.sparse.
        density: The share of the weights that may change which do, the head not counted.
        training: See train_adapter.
        seed: Of the order of the rows.
        vocabulary: See AdapterTrainer.
        beneath: A sparse fine-tuning to start from; no part of the result.
        checkpoints: See train_adapter.

    Returns:
        As train_adapter, of the second training, with density, kept and trainable.
    """
    if any(weight.dtype != torch.float32 for weight in backbone.model.parameters()):
        needed = "float32 and no quantization, for a fine-tuning of the model itself"
        raise InputError("model_kwargs", found="another type of weights", needed=needed)
    arguments = {**training, "weight_decay": 0.0}
    with backbone.upon(beneath):
        tokens = tokenised(backbone, rows, training, vocabulary)
        weights, head = _trainable(backbone)
        start = {name: weight.detach().clone() for name, weight in weights.items()}

        for weight in weights.values():
            weight.requires_grad_(True)

        def train(part: str) -> dict[str, Any]:
            kept = None if checkpoints is None else checkpoints / part
            return trained(
                backbone, backbone.model, rows, tokens, arguments, seed, vocabulary, kept
            )

        def found_masks() -> dict[str, Tensor]:
            train("first")
            body = {name: weight for name, weight in weights.items() if name not in head}
            masks = _most_changed(body, start, density)
            return masks | {name: torch.ones_like(weights[name], dtype=torch.bool) for name in head}

        try:
            masks = _once(found_masks, checkpoints)
            _rewind(weights, start)
            record = _train_masked(weights, masks, lambda: train("second"))
            found = {name: _difference(w, start[name], masks[name]) for name, w in weights.items()}
        finally:
            _rewind(weights, start)
            backbone.settled()
    kept, trainable = (sum(int(x.sum()) for x in masks.values()), _count(weights))
    facts = {"density": density, "kept": kept, "trainable": trainable}
    name = backbone.model.config.name_or_path
    write_sparse(output, found, {"base_model_name_or_path": name, **facts})
    return {**record, **facts}


def _trainable(backbone: Backbone) -> tuple[dict[str, Any], set[str]]:
    """The weights that may change, and which of them are a classification head's.

    Not embeddings and output layer; nor what an encoder has on top to fill in masked tokens, which
    is no part of the model that classifies.
    """
    model = backbone.model
    fixed = {
        id(weight)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
        for weight in module.parameters()
    }
    found = {name: w for name, w in model.named_parameters() if id(w) not in fixed}
    if backbone.family != "encoder":
        return found, set()
    head = {name for name in found if not name.startswith(f"{model.base_model_prefix}.")}
    if type(model).__name__.endswith("ForSequenceClassification"):
        return found, head
    return {name: weight for name, weight in found.items() if name not in head}, set()


def _once(make: Any, checkpoints: Path | None) -> dict[str, Tensor]:
    """The masks, made or, where the second training was killed, read."""
    if checkpoints is None:
        return make()
    kept = checkpoints / "masks.safetensors"
    if not kept.is_file():
        masks = make()
        save_file(masks, kept.with_suffix(".draft"))
        kept.with_suffix(".draft").rename(kept)
        shutil.rmtree(checkpoints / "first")
    return load_file(kept)


def _count(weights: Mapping[str, Any]) -> int:
    return sum(weight.numel() for weight in weights.values())


def _most_changed(
    weights: Mapping[str, Any], start: Mapping[str, Tensor], density: float
) -> dict[str, Tensor]:
    """A mask for each weight: together the `density` share that changed most, of all weights."""
    changes = torch.cat([(w.detach() - start[name]).abs().flatten() for name, w in weights.items()])
    count = max(1, round(density * len(changes)))
    chosen = torch.zeros(len(changes), dtype=torch.bool, device=changes.device)
    chosen[changes.topk(count, sorted=False).indices] = True
    parts = chosen.split([weight.numel() for weight in weights.values()])
    return {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def _train_masked(weights: Mapping[str, Any], masks: Mapping[str, Tensor], train: Any) -> Any:
    """Trains with the gradient of every other weight set to zero: Adam then leaves it alone."""
    hooks = [
        weight.register_hook(lambda grad, mask=masks[name]: grad * mask)
        for name, weight in weights.items()
    ]
    try:
        return train()
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _rewind(weights: Mapping[str, Any], start: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(start[name])


def _difference(weight: Any, start: Tensor, mask: Tensor) -> Any:
    """Flat positions and differences of the weights that were trained."""
    index = mask.flatten().nonzero().flatten()
    value = (weight.detach() - start).flatten()[index]
    return index.cpu().numpy(), value.cpu().numpy()
