"""Training one adapter of Gemma-3-270M beside TRL's SFTTrainer: the demo's task, and raw text.

Data from the Hub, or from the folder ADAMERGEX_DATA. Before the clock starts both sides train in
float32, on the same rows in the same order from the same start, and every step's loss must be the
same to 1%. TRL then runs with its defaults: bfloat16, gradient checkpointing, padded batches of 8.
Last, the peak memory of a process that makes one update, by the size of its batch.

    python benchmarks/training.py [--rows 64] [--runs 3] [--only task|text|memory] [--no-quality]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from common import recipe, table, timed
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.methods import Catalog
from adamergex.models import Head, backbone, bfloat16_products
from adamergex.recipe import demo_recipe
from adamergex.score import measured
from adamergex.tasks import Example, examples, questions
from adamergex.train import initialised, train_adapter, vocabulary_of
from adamergex.train.loss import summed_cross_entropy

ADAPTER = {"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
TRAINING = {
    "learning_rate": 2e-4,
    "per_device_train_batch_size": 8,
    "lr_scheduler_type": "cosine",
    "num_train_epochs": 1,
}
HELD_OUT = 64


@dataclass
class Bench:
    """One set of rows, and what it is trained for."""

    name: str
    base: Any
    rows: list[Example]
    quality: tuple[str, Callable[[Any], float]]
    losses: dict[str, list[float]] = field(default_factory=dict)

    def ours(self, name: str, rows: list[Example], output: Path | None = None, **options: Any):
        """Seconds of training; `vocabulary` and names of TrainingArguments in `options`."""
        vocabulary = options.pop("vocabulary", None)
        with tempfile.TemporaryDirectory() as scratch:
            made = train_adapter(
                self.base, rows, output or Path(scratch) / "adapter", adapter=ADAPTER, seed=0,
                training={**TRAINING, **options}, vocabulary=vocabulary,
            )  # fmt: skip
        self.losses[name] = made["losses"]
        return made["training_seconds"]

    def trl(self, name: str, rows: list[Example], output: Path | None = None, **options: Any):
        """The same by TRL's own trainer."""
        tokens = [self.base.tokens(row, end=True) for row in rows]
        data = [{"input_ids": t.ids, "labels": [-100] * t.prompt_length + t.answer} for t in tokens]
        model, _ = initialised(self.base, ADAPTER, 0)
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()  # as ours, with what it takes to make a trainer
            arguments = SFTConfig(
                output_dir=scratch, seed=0, logging_steps=1, save_strategy="no", report_to="none",
                use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
                dataloader_pin_memory=False, **{**TRAINING, **options},
            )  # fmt: skip
            trainer = SFTTrainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_list(data),
                processing_class=self.base.tokenizer,
            )
            trainer.log = lambda logs, *_: trainer.state.log_history.append(dict(logs))
            trainer.train()
            took = time.perf_counter() - start
            history = trainer.state.log_history
        if output is not None:
            model.save_pretrained(output)
        self.base.restored(model)
        self.base.model.gradient_checkpointing_disable()
        self.base.model.disable_input_require_grads()
        self.losses[name] = [entry["loss"] for entry in history if "loss" in entry]
        return took

    def apart(self, one: str, two: str) -> float:
        """The largest difference of two curves, relative."""
        pairs = zip(self.losses[one], self.losses[two], strict=True)
        return max(abs(a - b) / abs(b) for a, b in pairs)


def compared(bench: Bench, count: int, runs: int, *, with_quality: bool) -> None:
    few, rows = bench.rows[:32], bench.rows[:count]
    bench.ours("ours", few)
    bench.trl("TRL", few, bf16=False, gradient_checkpointing=False)
    same = bench.apart("ours", "TRL")
    assert same < 0.01, bench.losses
    used = vocabulary_of(bench.base, bench.rows)
    half = {"bf16": True} if bfloat16_products() else {}
    # Where bfloat16 is emulated, TRL's defaults take many minutes: the peer is then in float32.
    defaults = {
        "TRL's defaults": lambda name: bench.trl(name, rows),
        "TRL without checkpointing": lambda name: bench.trl(
            name, rows, gradient_checkpointing=False
        ),
    }
    calls = (defaults if half else {}) | {
        "TRL without checkpointing, in float32": lambda name: bench.trl(
            name, rows, gradient_checkpointing=False, bf16=False
        ),
        "ours": lambda name: bench.ours(name, rows),
        "ours, `vocabulary: in-use`": lambda name: bench.ours(name, rows, vocabulary=used),
    }
    if half:
        calls["ours, `bf16: true`"] = lambda name: bench.ours(name, rows, **half)
        calls["ours, both"] = lambda name: bench.ours(name, rows, vocabulary=used, **half)
    found = timed({name: lambda n=name, c=call: c(n) for name, call in calls.items()}, runs)
    tokens = sum(len(bench.base.tokens(row, end=True).ids) for row in rows)
    print(f"### {bench.name}: {count} rows, {tokens} tokens\n")
    print(f"In float32 the losses of every step differ by {same:.1e} at most.\n")
    peer = next(iter(found.values()))
    lines = [
        (name, took, f"{tokens / took.median:.0f}", f"{peer / took:.2f}",
         "" if "in-use" in name or "both" in name else f"{bench.apart(name, 'ours'):.1%}")
        for name, took in found.items()
    ]  # fmt: skip
    head = ("", "seconds", "tokens/s", "times the first", "losses apart from ours in float32")
    table(head, lines)
    if with_quality:
        quality(bench, used, half)


def quality(bench: Bench, used: list[int], half: dict[str, Any]) -> None:
    """What the cut vocabulary, which is another loss, is worth beside the whole one."""
    what, measure = bench.quality
    lines = [("base model", f"{measure(None):.3f}")]
    trained = {
        "TRL's defaults": lambda out: bench.trl("", bench.rows, out, num_train_epochs=2),
        "ours, `bf16: true`" if half else "ours": lambda out: bench.ours(
            "", bench.rows, out, num_train_epochs=2, **half
        ),
        f"the same, softmax over {len(used)} tokens": lambda out: bench.ours(
            "", bench.rows, out, num_train_epochs=2, vocabulary=used, **half
        ),
    }
    for name, train in trained.items():
        with tempfile.TemporaryDirectory() as scratch:
            train(Path(scratch) / "adapter")
            lines.append((name, f"{measure(Path(scratch) / 'adapter'):.3f}"))
    print(f"After two epochs of {len(bench.rows)} rows:\n")
    table(("", what), lines)


def task(base: Any) -> Bench:
    catalog = Catalog.of(demo_recipe())
    asked = catalog.rows(catalog.task("emoji"), "en", "dev")
    dev = questions(asked.config, asked.files)

    def accuracy(adapter: Path | None) -> float:
        with base.adapted(adapter) as model:
            return measured(base, model, dev)["score"]

    data = catalog.rows(catalog.task("emoji"), "en", "train")
    rows = examples(data.config, data.files)[:160]
    what = f"English dev accuracy, {len(dev.items)} items"
    return Bench("The demo's task", base, rows, (what, accuracy))


def text(base: Any) -> Bench:
    sib200 = recipe("sib200")
    data = Catalog.of(sib200).reference(sib200.reference[0], "eng_Latn")
    lines = examples(data.config, data.files)
    held_out = [base.tokens(row, end=True).ids for row in lines[-HELD_OUT:]]

    @torch.no_grad()
    def loss(adapter: Path | None) -> float:
        total, head = 0.0, Head.of(base.model)
        with base.adapted(adapter) as model:
            for ids in held_out:
                hidden, labels = base.hidden(model, [ids])[:-1], torch.tensor(ids[1:])
                total += float(summed_cross_entropy(hidden, head, labels.to(hidden.device)))
        return total / sum(len(ids) - 1 for ids in held_out)

    what = f"nats a token over the whole vocabulary, {HELD_OUT} lines held out"
    return Bench("Raw text, English", base, lines[:160], (what, loss))


def memory() -> None:
    """Peaks of fresh processes: nothing else shows what one update adds to the model."""
    kinds = [("float32",), ("bf16",)] if bfloat16_products() else [("float32",)]
    sizes = [4, 16, 64]
    peaks = [[_peak(size, *kind) for size in sizes] for kind in (*kinds, ("float32", "in-use"))]
    names = [*(kind[0] for kind in kinds), "float32, `vocabulary: in-use`"]
    print("### Peak memory of one update, GB, by rows in its batch (raw text)\n")
    lines = [(name, *row) for name, row in zip(names, peaks, strict=True)]
    table(("", *map(str, sizes)), lines)


def _peak(*what: Any) -> str:
    command = [sys.executable, "-W", "ignore", __file__, "--peak", *map(str, what)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def peak(size: str, precision: str, vocabulary: str = "") -> None:
    """One update in this process, and the most memory that it ever held."""
    bench = text(backbone("builtin:gemma-3-270m"))
    rows = bench.rows[: int(size)]
    bench.ours(
        "one",
        rows,
        bf16=precision == "bf16",
        vocabulary=vocabulary_of(bench.base, rows) if vocabulary else None,
        per_device_train_batch_size=len(rows),
    )
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("task", "text", "memory"))
    parser.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--no-quality", action="store_true", help="times only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peak:
        peak(*options.peak)
        return
    base = backbone("builtin:gemma-3-270m")
    print(f"## Training an adapter, {torch.get_num_threads()} threads\n")
    for make in (task, text):
        if options.only in (None, make.__name__):
            with_quality = not options.no_quality
            compared(make(base), options.rows, options.runs, with_quality=with_quality)
    if options.only in (None, "memory"):
        memory()


if __name__ == "__main__":
    main()
