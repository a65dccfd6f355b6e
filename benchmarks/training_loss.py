"""The output layer cut to the tokens in use, beside SFTTrainer's loss over all of them.

Trains the demo's task and its translation reference both ways from one initialisation, and prints
rows a second and dev accuracy: the two losses differ, so speed alone would say nothing.

    python benchmarks/training_loss.py [--rows 160]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from adamergex.models import backbone
from adamergex.recipe import DEMO
from adamergex.score import accuracy, predictions
from adamergex.tasks import data, examples, items
from adamergex.train import train_adapter, vocabulary_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=160)
    count = parser.parse_args().rows
    torch.set_num_threads(1)
    base = backbone(DEMO.model)
    dev = items(data("emoji", "en", split="dev"))
    tasks = {
        "task": examples(data("emoji", "en", split="train"))[:count],
        "translation": examples(data("translation", "tr"))[:count],
    }
    used = vocabulary_of(base, [row for rows in tasks.values() for row in rows])
    for name, rows in tasks.items():
        for label, vocabulary in (("whole vocabulary", None), (f"{len(used)} tokens", used)):
            with tempfile.TemporaryDirectory() as scratch:
                output = Path(scratch) / "adapter"
                made = train_adapter(
                    base, rows, output, adapter=DEMO.adapter, training=DEMO.training, seed=0,
                    vocabulary=vocabulary,
                )  # fmt: skip
                with base.adapted(output) as model:
                    answers = predictions(base, model, dev)
            score = accuracy([a == item.gold for a, item in zip(answers, dev, strict=True)])
            speed = made["rows"] * DEMO.training["num_train_epochs"] / made["seconds"]
            print(f"{name:12} {label:18} {speed:6.1f} rows/s, English dev {score:.3f}", flush=True)


if __name__ == "__main__":
    main()
