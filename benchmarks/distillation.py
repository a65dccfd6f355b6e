"""Distilling whole answers into Gemma-3-270M beside plain fine-tuning on the same rows.

The rows are lines of NTREX: the first half is the prompt, the second the answer. Data from the Hub,
or from the folder ADAMERGEX_DATA. Both sides train the same adapter, on the same tokens, by the
whole vocabulary; the first loss of the distillation, whose teacher is the student, must be 0.

    python benchmarks/distillation.py [--rows 32] [--runs 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import recipe, table, timed

from adamergex.methods import Catalog
from adamergex.models import backbone
from adamergex.score import taught, write_taught
from adamergex.tasks import Example, Item, examples
from adamergex.train import distil, train_adapter, untrained

ADAPTER = {"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
TRAINING = {"learning_rate": 2e-4, "per_device_train_batch_size": 8, "num_train_epochs": 1}


def halves(count: int) -> list[Example]:
    """Lines cut in two."""
    sib200 = recipe("sib200")
    data = Catalog.of(sib200).reference(sib200.reference[0], "eng_Latn")
    words = [row.completion.split() for row in examples(data.config, data.files)[:count]]
    cut = [(line[: len(line) // 2], line[len(line) // 2 :]) for line in words]
    return [Example(" ".join(first), " " + " ".join(second)) for first, second in cut]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    base = backbone("builtin:gemma-3-270m")
    rows = halves(options.rows)
    items = [Item(str(i), row.prompt, (), None) for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        untrained(base, ADAPTER, 0, folder / "start")
        began = time.perf_counter()
        learnt: Any = taught(base, base.model, items, answers=[row.completion for row in rows])
        teaching = time.perf_counter() - began
        size = write_taught(learnt, range(len(rows)), folder / "taught")
        places = len(learnt.ids)

        def plain() -> float:
            made = train_adapter(
                base, rows, folder / "plain", adapter=ADAPTER, training=TRAINING, seed=0
            )
            return made["training_seconds"]

        def distilled() -> float:
            made = distil(
                base, items, learnt, folder / "distilled", start=folder / "start",
                training=TRAINING, seed=0,
            )  # fmt: skip
            assert made["losses"][0] < 1e-4, made["losses"]
            return made["training_seconds"]

        found = timed({"plain fine-tuning": plain, "distillation": distilled}, options.runs)
    tokens = sum(len(base.tokens(row, end=True).ids) for row in rows)
    print(f"## Distilling whole answers, {torch.get_num_threads()} threads\n")
    print(f"{len(rows)} rows, {tokens} tokens, {places} of them answers.\n")
    peer = next(iter(found.values()))
    lines = [
        (name, took, f"{tokens / took.median:.0f}", f"{peer / took:.2f}")
        for name, took in found.items()
    ]
    table(("", "seconds", "tokens/s", "times the first"), lines)
    print(f"Before that T teaches: {teaching:.1f} s, {size / places:.0f} bytes a token.")


if __name__ == "__main__":
    main()
