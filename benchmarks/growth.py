"""How cost grows: merge time with the size of the adapters, run time with the number of languages.

Prints tables with fitted slopes and draws growth.svg beside this file.

    python benchmarks/growth.py [--layers 8] [--runs 3]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from common import Times, command, table, timed
from merge import WEIGHTS, make_adapters, ours

RANKS = (4, 8, 16, 32, 64, 128, 256)
LANGUAGES = ("tr", "fa", "de", "es", "fr", "id", "it", "pt")

RECIPE = """
model: builtin:gemma-3-270m
adapter: {{type: lora, r: 8, lora_alpha: 16, target_modules: all-linear}}
source: en
targets: [{targets}]
tasks: [emoji]
reference: {{task: causal-lm, text: emoji, max_samples: 64}}
methods: [source-ft, adamergex]
scale: {{grid: [0, 0.5, 1.0], select: dev}}
training: {{num_train_epochs: 1, vocabulary: in-use}}
max_samples: {{train: 64, dev: 32, test: 32}}
"""

Points = list[tuple[float, Times]]


def by_size(scratch: Path, layers: int, runs: int) -> Points:
    """(MiB of one input, seconds of the command) for each rank."""
    points = []
    for rank in RANKS:
        folder = make_adapters(scratch / "adapters", rank, layers)
        size = (folder / "task" / WEIGHTS).stat().st_size / 2**20
        ours(folder)
        points.append((size, timed({"": lambda f=folder: ours(f)}, runs)[""]))
        shutil.rmtree(folder)
    return points


def by_languages(scratch: Path) -> Points:
    """(target languages, seconds of a run from an empty store); one run each."""
    points = []
    for count in (1, 2, 4, 8):
        recipe = scratch / f"languages-{count}.yaml"
        recipe.write_text(RECIPE.format(targets=", ".join(LANGUAGES[:count])))
        run = [
            sys.executable,
            "-m",
            "adamergex",
            "run",
            recipe,
            "--output",
            scratch / f"run{count}",
        ]
        points.append((count, Times([command(*run)[0]])))
    return points


def line(points: Points) -> tuple[float, float]:
    """Slope and intercept, least squares on the medians."""
    slope, start = np.polyfit([x for x, _ in points], [y.median for _, y in points], 1)
    return float(slope), float(start)


def draw(charts: list[tuple[str, str, Points]], path: Path) -> None:
    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(charts), figsize=(9, 3.2))
    for axis, (title, what, points) in zip(axes, charts, strict=True):
        x = np.array([point[0] for point in points])
        y = np.array([point[1].median for point in points])
        low = y - np.array([min(point[1].seconds) for point in points])
        high = np.array([max(point[1].seconds) for point in points]) - y
        slope, start = line(points)
        axis.errorbar(x, y, [low, high], fmt="o", capsize=2)
        axis.plot(x, start + slope * x, label=f"{start:.2g} s + {slope:.2g} s each")
        axis.set(title=title, xlabel=what, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        axis.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = by_size(Path(folder), options.layers, options.runs)
        languages = by_languages(Path(folder))
    print("## How cost grows\n")
    print(f"### Merging, {options.layers} layers of a 7B Llama, exact\n")
    rows = [(r, f"{x:.0f}", y) for r, (x, y) in zip(RANKS, sizes, strict=True)]
    table(("r", "one input, MiB", "seconds"), rows)
    slope, start = line(sizes)
    print(f"Fitted: {start:.2f} s + {1024 * slope:.2f} s for each GiB of one input.\n")
    print("### A run with N target languages, emoji, 64 rows an adapter\n")
    table(("N", "seconds"), [(int(x), y) for x, y in languages])
    slope, start = line(languages)
    print(f"Fitted: {start:.0f} s + {slope:.1f} s for each language. ![growth](growth.svg)\n")
    charts = [
        ("Merging", "MiB of one input", sizes),
        ("A whole run", "target languages", languages),
    ]
    draw(charts, Path(__file__).with_name("growth.svg"))


if __name__ == "__main__":
    main()
