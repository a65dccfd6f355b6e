"""A random Llama of 1.2 billion weights on a GPU, beside TRL's SFTTrainer and lm-eval's HFLM.

Both sides have the weights in bfloat16 and LoRA of rank 16 on all linear layers, the same rows, and
batches of the same size; both recompute layers on the way back, or neither does. What is asserted
to be alike is the first step's loss, to 2%, and the log-likelihoods, to 1% of the largest.

    python benchmarks/gpu.py [--rows 256] [--runs 3] [--layers 16] [--width 2048]
                             [--vocabulary 128256] [--device cuda]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import table, timed
from datasets import Dataset, disable_progress_bars
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    set_seed,
)
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from adamergex.models.loading import own_backbone
from adamergex.recipe.bases import PlacedModelKwargs
from adamergex.score import likelihoods
from adamergex.tasks import Example, Item
from adamergex.train import train_adapter

LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
BATCH = 16
STEPS = 16
CHOICES = 4


def written(folder: Path, layers: int, width: int, tokens: int) -> Path:
    """A random Llama as large as Llama-3.2-1B, whose tokens are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<bos>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    ends = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **ends).save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 256),
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def made_rows(count: int) -> list[Example]:
    """Prompts of 100 to 400 letters and answers of 8 to 40, drawn at random."""
    draw = random.Random(0)

    def text(least: int, most: int) -> str:
        return "".join(draw.choices("abcdefghij ", k=draw.randint(least, most))).strip()

    return [Example(text(100, 400), f" {text(8, 40)}") for _ in range(count)]


class Bench:
    """The model on a device, and what is done with it on both sides."""

    def __init__(self, folder: Path, device: str, rows: list[Example]) -> None:
        self.folder, self.device, self.rows = folder, device, rows
        self.how = PlacedModelKwargs(dtype="bfloat16", device_map=device)
        self.losses: dict[str, float] = {}

    def base(self) -> Any:
        """The model, loaded anew: neither side finds what the other left on it."""
        return own_backbone(str(self.folder), None, self.how)

    def ours(self, again: bool) -> float:
        """Seconds of our training."""
        training = {
            "learning_rate": 1e-4, "max_steps": STEPS, "per_device_train_batch_size": BATCH,
            "gradient_checkpointing": again,
        }  # fmt: skip
        adapter = {"type": "lora", **LORA}
        with tempfile.TemporaryDirectory() as out:
            record = train_adapter(
                self.base(), self.rows, Path(out), adapter=adapter, training=training, seed=0
            )
        self.losses["ours"] = record["losses"][0]
        return record["training_seconds"]

    def theirs(self, again: bool) -> float:
        """Seconds of SFTTrainer's."""
        base = self.base()
        set_seed(0)
        model = get_peft_model(base.model, LoraConfig(task_type="CAUSAL_LM", **LORA))
        with tempfile.TemporaryDirectory() as out:
            options = SFTConfig(
                output_dir=out, learning_rate=1e-4, max_steps=STEPS, seed=0,
                per_device_train_batch_size=BATCH, gradient_checkpointing=again,
                logging_steps=1, report_to="none", save_strategy="no", disable_tqdm=True,
                bf16=self.device != "cpu", use_cpu=self.device == "cpu",
            )  # fmt: skip
            pairs = [{"prompt": row.prompt, "completion": row.completion} for row in self.rows]
            trainer = SFTTrainer(
                model=model,
                args=options,
                train_dataset=Dataset.from_list(pairs),
                processing_class=base.tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            start = time.perf_counter()
            trainer.train()
            took = time.perf_counter() - start
        self.losses["TRL"] = trainer.state.log_history[0]["loss"]
        return took

    def training(self, again: bool, runs: int) -> None:
        sides = {"ours": lambda: self.ours(again), "TRL's SFTTrainer": lambda: self.theirs(again)}
        rows = self._compared(sides, runs)
        one, other = self.losses.values()
        assert abs(one - other) < 0.02 * other, self.losses
        print(f"### {STEPS} updates of {BATCH} rows, gradient_checkpointing: {again}\n")
        table(("", "seconds", "peak, GiB"), rows)

    def scoring(self, runs: int) -> None:
        more = iter(made_rows(CHOICES * len(self.rows)))
        items = [
            Item(str(i), row.prompt, tuple(next(more).completion for _ in range(CHOICES)), 0)
            for i, row in enumerate(self.rows)
        ]
        asks = [
            Instance("loglikelihood", {}, (item.prompt, choice), i)
            for i, item in enumerate(items)
            for choice in item.choices
        ]
        base = self.base()
        peer: Any = HFLM(
            pretrained=base.model,
            tokenizer=base.tokenizer,
            device=self.device,
            batch_size=64,
            softmax_dtype="float32",  # else its sums are of numbers of three digits
        )
        said: dict[str, list[float]] = {}

        def ours() -> None:
            found = likelihoods(base, base.model, items)
            said["ours"] = [log for row in found for log, _ in row]

        def theirs() -> None:
            said["HFLM"] = [log for log, _ in peer.loglikelihood(asks, disable_tqdm=True)]

        rows = self._compared({"ours": ours, "HFLM, batches of 64": theirs}, runs)
        apart = max(abs(a - b) for a, b in zip(said["ours"], said["HFLM"], strict=True))
        assert apart < 0.01 * max(map(abs, said["HFLM"])), apart
        print(f"### {len(items)} items of {CHOICES} choices; log-likelihoods {apart:.1e} apart\n")
        table(("", "seconds", "peak, GiB"), rows)

    def _compared(self, sides: dict[str, Callable[[], Any]], runs: int) -> list[tuple[Any, ...]]:
        """What each side took: seconds, and GiB of the device."""
        peaks: dict[str, int] = {}
        watched = {name: self._watched(peaks, name, call) for name, call in sides.items()}
        found = timed(watched, runs)
        return [(name, took, f"{peaks[name] / 2**30:.1f}") for name, took in found.items()]

    def _watched(self, peaks: dict[str, int], name: str, call: Callable[[], Any]) -> Any:
        """The call, with the most memory of the device that it took."""

        def watched() -> Any:
            if self.device == "cpu":
                peaks[name] = 0
                return call()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            found = call()
            torch.cuda.synchronize()
            peaks[name] = torch.cuda.max_memory_allocated()
            return found

        return watched


def main() -> int:
    parser = argparse.ArgumentParser()
    for name, value in (
        ("rows", 256),
        ("runs", 3),
        ("layers", 16),
        ("width", 2048),
        ("vocabulary", 128_256),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("gpu: no CUDA device here: nothing was run")
        return 0
    where = torch.cuda.get_device_name() if given.device == "cuda" else "a processor"
    print(f"## {given.layers} layers of {given.width}, random, bfloat16, on {where}\n")
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        place = written(Path(folder), given.layers, given.width, given.vocabulary)
        bench = Bench(place, given.device, made_rows(given.rows))
        for again in (False, True):
            bench.training(again, given.runs)
        bench.scoring(given.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
