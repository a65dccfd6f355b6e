"""Scoring Gemma-3-270M beside lm-evaluation-harness's HFLM: choices, a scale sweep, free text.

Data from the Hub, or from the folder ADAMERGEX_DATA. What is printed was asserted to be the same on
both sides, but for free text, of which it is said how much is the same.

    python benchmarks/scoring.py [--runs 3]
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import recipe, table, timed
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import adamergex
from adamergex.methods import Catalog
from adamergex.models import backbone, prepared
from adamergex.score import generations, likelihoods
from adamergex.tasks import Questions, questions
from adamergex.train import train_adapter

MODEL = "builtin:gemma-3-270m"
GRID = tuple(i / 8 for i in range(9))
BATCH = 16
"""Rows at once for HFLM: with SIB-200's prompts, as many tokens as our batches hold."""
WRITERS = 32
"""Rows at once in free text, for both."""


def asked(name: str, language: str, split: str) -> Questions:
    catalog = Catalog.of(recipe(name))
    data = catalog.rows(catalog.task(name), language, split)
    return questions(data.config, data.files)


def harness(adapter: Path | None = None, **options: Any) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"dtype": "float32", "device": device, "batch_size": BATCH, **options}
    if adapter is not None:
        options["peft"] = str(adapter)
    return HFLM(pretrained=str(prepared()), **options)


def peer_likelihoods(model: Any, items: Any) -> list[list[tuple[float, bool]]]:
    requests = [
        Instance("loglikelihood", {}, (item.prompt, choice), i)
        for i, item in enumerate(items)
        for choice in item.choices
    ]
    answers = iter(model.loglikelihood(requests, disable_tqdm=True))
    return [[next(answers) for _ in item.choices] for item in items]


def check_same(mine: Any, theirs: Any) -> float:
    """The largest difference of log-likelihoods; the predictions must be the same."""
    best = [[max(range(len(row)), key=row.__getitem__) for row in rows] for rows in (mine, theirs)]
    assert best[0] == best[1], "other predictions"
    pairs = (
        (x[0], y[0]) for a, b in zip(mine, theirs, strict=True) for x, y in zip(a, b, strict=True)
    )
    worst = max(abs(x - y) for x, y in pairs)
    assert worst < 1e-3, worst
    return worst


def choices(runs: int) -> None:
    items = asked("sib200", "eng_Latn", "test").items
    compared(items, f"SIB-200, English, {len(items)} items of {len(items[0].choices)}", runs)


def few_shot(runs: int) -> None:
    """Five examples before each question, the same before all."""
    rows = asked("sib200", "eng_Latn", "dev").examples()[:5]
    shots = "".join(f"{row.prompt}{row.completion}\n\n" for row in rows)
    items = asked("sib200", "eng_Latn", "test").items[:50]
    items = [replace(item, prompt=shots + item.prompt) for item in items]
    compared(items, f"SIB-200, English, {len(items)} items after five examples", runs)


def compared(items: Any, what: str, runs: int) -> None:
    base, peer = backbone(MODEL), harness()
    worst = check_same(likelihoods(base, base.model, items), peer_likelihoods(peer, items))
    found = timed(
        {
            "ours": lambda: likelihoods(base, base.model, items),
            "HFLM": lambda: peer_likelihoods(peer, items),
        },
        runs,
    )
    print(f"### Choices: {what}\n")
    table(("", "seconds"), list(found.items()))
    print(f"{found['HFLM'] / found['ours']:.1f} times as fast; every prediction is the same,")
    print(f"and log-likelihoods differ by {worst:.1e} at most.\n")


def made_adapters(folder: Path) -> list[Path]:
    """T, Rt and Rs, hardly trained: what a sweep costs does not depend on it."""
    rows = asked("sib200", "eng_Latn", "dev").examples()[:8]
    for seed, name in enumerate(("t", "rt", "rs")):
        train_adapter(
            backbone(MODEL), rows, folder / name, seed=seed,
            adapter={"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
            training={"learning_rate": 2e-4, "max_steps": 1, "per_device_train_batch_size": 8},
        )  # fmt: skip
    return [folder / name for name in ("t", "rt", "rs")]


def sweep(folder: Path, inputs: list[Path]) -> None:
    items = asked("sib200", "swh_Latn", "dev").items
    base = backbone(MODEL)

    def merged(t: float) -> Path:
        task, target, source = inputs
        made = adamergex.merge(task=task, reference_target=target, reference_source=source, scale=t)
        made.save(folder / f"t{t}", overwrite=True)
        return folder / f"t{t}"

    def mine(t: float) -> Any:
        with base.adapted(merged(t)) as model:
            return likelihoods(base, model, items)

    def theirs(t: float) -> Any:
        return peer_likelihoods(harness(folder / f"t{t}"), items)

    sides = {
        "ours, with the merging": mine,
        "HFLM, of the nine merged adapters, each loaded": theirs,
    }
    kept: dict[str, list[Any]] = {side: [] for side in sides}

    def next_scale(side: str) -> None:
        kept[side].append(sides[side](GRID[len(kept[side])]))

    found = timed({side: partial(next_scale, side) for side in sides}, len(GRID))
    worst = max(check_same(a, b) for a, b in zip(*kept.values(), strict=True))
    ours, peer = (sum(times.seconds) for times in found.values())
    print(f"### A scale sweep: {len(GRID)} values, SIB-200 dev, Swahili, {len(items)} items\n")
    table(("", "seconds"), [(side, f"{sum(x.seconds):.1f}") for side, x in found.items()])
    print(f"{peer / ours:.1f} times as fast; log-likelihoods differ by {worst:.1e} at most.\n")


def free_text(adapter: Path, runs: int) -> None:
    items = asked("xquad", "en", "test").items[:32]
    base, peer = backbone(MODEL), harness(adapter, max_length=4096, batch_size=WRITERS)
    options = [
        {"until": list(x.until), "max_gen_toks": x.max_gen_toks, "do_sample": False} for x in items
    ]
    requests = [
        Instance("generate_until", {}, (x.prompt, option), 0)
        for x, option in zip(items, options, strict=True)
    ]
    kept: dict[str, list[str]] = {}

    def mine() -> None:
        with base.adapted(adapter) as model:
            kept["ours"] = generations(base, model, items)

    found = timed(
        {
            "ours": mine,
            "HFLM": lambda: kept.update(hflm=peer.generate_until(requests, disable_tqdm=True)),
        },
        runs,
    )
    same = sum(a == b for a, b in zip(kept["ours"], kept["hflm"], strict=True))
    print(f"### Free text: XQuAD, English, {len(items)} items, an adapter on the model\n")
    table(("", "seconds"), list(found.items()))
    print(f"{found['HFLM'] / found['ours']:.2f} times as fast;", end=" ")
    print(f"{same} of {len(items)} texts are the same, to the letter.\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("choices", "few-shot", "sweep", "free-text"))
    options = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    print(f"## Scoring Gemma-3-270M, float32, {torch.get_num_threads()} threads\n")
    with tempfile.TemporaryDirectory() as scratch:
        if options.only in (None, "choices"):
            choices(options.runs)
        if options.only in (None, "few-shot"):
            few_shot(options.runs)
        if options.only not in ("choices", "few-shot"):
            inputs = made_adapters(Path(scratch))
            if options.only in (None, "sweep"):
                sweep(Path(scratch), inputs)
            if options.only in (None, "free-text"):
                free_text(inputs[0], options.runs)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
