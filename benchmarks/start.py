"""How long the commands take that do next to nothing, beyond starting Python.

python benchmarks/start.py [--runs 11]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import merge
from common import command, python, table, timed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    merge.SHAPES = dict.fromkeys(merge.SHAPES, (8, 8))
    with tempfile.TemporaryDirectory() as scratch:
        folder = merge.make_adapters(Path(scratch) / "tiny", 2, 1)
        found = timed(
            {
                "`python -c pass`": lambda: python("pass"),
                "`adamergex --help`": lambda: command(sys.executable, "-m", "adamergex", "--help"),
                "`adamergex merge`, three tiny adapters": lambda: merge.ours(folder),
            },
            runs,
        )
    empty = found["`python -c pass`"]
    print("## Starting\n")
    rows = [(name, took, f"{took.median - empty.median:.2f}") for name, took in found.items()]
    table(("", "seconds", "more than nothing"), rows)


if __name__ == "__main__":
    main()
