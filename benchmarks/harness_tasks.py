"""How many of lm-evaluation-harness's own task files are tasks here, and why the others are not.

    python benchmarks/harness_tasks.py

Takes minutes: there are fourteen thousand files.
"""

import re
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from adamergex.errors import InputError
from adamergex.tasks import find_task

FOLDER = Path(find_spec("lm_eval").origin).parent / "tasks"


def reason(error: InputError) -> str:
    """The field, and the value where it is a function or a setting."""
    field, found = str(error.subject[-1]), str(error.found)
    if "!function" in found:
        return f"{field}: a function"
    if field in ("num_fewshot", "repeats", "output_type") or field.startswith("generation"):
        return f"{field}: {found}"
    return field if not field.endswith((".yaml", ".py")) else found[:60]


def main() -> None:
    taken, why, blocked = 0, Counter(), Counter()
    files = sorted(FOLDER.rglob("*.yaml"))
    for path in files:
        try:
            find_task(str(path), Path("/"))
            taken += 1
        except InputError as error:
            text = path.read_text(encoding="utf-8")
            group = re.search(r"^[\"']?group", text, re.MULTILINE) is not None
            kind = "a group of tasks" if group else reason(error)
            why[kind] += 1
            if kind.endswith("a function"):
                blocked[path.relative_to(FOLDER).parts[0]] += 1
    print(f"lm-eval {version('lm-eval')}: {len(files)} files, {taken} tasks")
    for kind, count in why.most_common(25):
        print(f"{count:6} {kind}")
    print("functions:", ", ".join(f"{name} {count}" for name, count in blocked.most_common(25)))


if __name__ == "__main__":
    main()
