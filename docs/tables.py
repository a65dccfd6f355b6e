"""Writes the tables of README.md and docs/*.md from the results.json of runs: no figure is typed.

A table stands between `<!-- results/NAME -->`, where docs/results/NAME/results.json is meant, and
`<!-- end -->`. With `alignment` after the name its last column is the cosine of Rt - Rs with the
target task's own divergence, instead of what is deployed against each row.

    python docs/tables.py                    writes them anew
    python docs/tables.py NAME RUN           first takes the results of a run: of the folder RUN
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from adamergex.report.reading import Mean, Results, Row, Task, read_results
from adamergex.report.text import difference, number, row_name

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- (results/[a-z0-9-]+)( alignment)? -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """A page with its tables as the results have them."""

    def block(match: re.Match[str]) -> str:
        results = read_results(DOCS / match[2])
        lines = list(table(results, results.tasks[0], alignment=bool(match[3])))
        return match[1] + "\n".join(lines) + "\n" + match[4]

    return BLOCK.sub(block, text)


def table(results: Results, task: Task, *, alignment: bool) -> Iterator[str]:
    """A row for each method: each language's score and settings, then the mean's differences."""
    heads = ["method", *map(results.language, results.targets), "mean, against source-ft"]
    heads.append("alignment, first seed" if alignment else "deployed, against it")
    yield line(heads)
    yield line(["---"] * len(heads))
    for mean in sorted(task.means, key=lambda mean: mean.oracle):
        if mean.variant == "best of these":
            continue
        own = (row for row in task.rows if row_name(row) == row_name(mean))
        last = aligned(results, task, mean) if alignment else difference(mean.deployed_versus)
        yield line([row_name(mean), *map(scored, own), difference(mean.versus_source_ft), last])


def scored(row: Row) -> str:
    """The score, with the setting of each seed where there was one to choose."""
    settings = [run.setting.partition("=")[2] for run in row.runs if run.setting]
    return number(row.score) + (f" ({', '.join(settings)})" if settings else "")


def aligned(results: Results, task: Task, mean: Mean) -> str:
    """The cosines of the languages, of the first seed."""
    reference = mean.variant.partition(",")[0]
    if mean.method != "adamergex":
        return ""
    found = [task.geometry[target][reference].alignment for target in results.targets]
    return ", ".join(f"{relation.cosine:.2f}" for relation in found if relation)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def take(name: str, run: Path) -> None:
    """Keeps the results of a run, without what its steps cost."""
    found = json.loads((run / "results.json").read_text(encoding="utf-8")) | {"costs": []}
    folder = DOCS / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        take(sys.argv[1], Path(sys.argv[2]))
    for page in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
