"""The output layer cut to the tokens in use, beside the loss over all of them.

Trains the demo's task and its translation reference both ways from one initialisation, and prints
rows a second and dev accuracy: the two losses differ, so speed alone would say nothing.

    python benchmarks/training_loss.py [--rows 160]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from adamergex.methods import Catalog
from adamergex.models import backbone
from adamergex.recipe import demo_recipe
from adamergex.score import measured
from adamergex.tasks import examples, questions
from adamergex.train import train_adapter, vocabulary_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=160)
    count = parser.parse_args().rows
    torch.set_num_threads(1)
    recipe = demo_recipe()
    catalog = Catalog.of(recipe)
    task = catalog.task("emoji")
    base = backbone(recipe.model)
    dev = questions(catalog.rows(task, "en", "dev").config, {})
    tasks = {
        "task": examples(catalog.rows(task, "en", "train").config, {})[:count],
        "translation": examples(catalog.reference(recipe.reference[0], "tr").config, {})[:count],
    }
    training = recipe.training.given()
    used = vocabulary_of(base, [row for rows in tasks.values() for row in rows])
    for name, rows in tasks.items():
        for label, vocabulary in (("whole vocabulary", None), (f"{len(used)} tokens", used)):
            with tempfile.TemporaryDirectory() as scratch:
                output = Path(scratch) / "adapter"
                made = train_adapter(
                    base, rows, output, adapter=recipe.adapter.fields, training=training, seed=0,
                    vocabulary=vocabulary,
                )  # fmt: skip
                with base.adapted(output) as model:
                    score = measured(base, model, dev)["score"]
            speed = made["rows"] * training["num_train_epochs"] / made["training_seconds"]
            print(f"{name:12} {label:18} {speed:6.1f} rows/s, English dev {score:.3f}", flush=True)


if __name__ == "__main__":
    main()
