"""Four files beside results.json, the same bytes each time, and nothing after an error."""

import subprocess
import sys

import pytest

from adamergex.errors import InputError
from adamergex.report import write_report
from tests.support.results import results, write

FILES = ["report.html", "results.csv", "table.md", "table.tex"]


def test_four_files_are_written(tmp_path):
    paths = write_report(write(tmp_path, results()))
    assert paths == [tmp_path / name for name in FILES]
    assert all(path.stat().st_size > 500 for path in paths)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "results.json"])


def test_the_same_results_give_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in write_report(write(tmp_path, results()))]
    assert [path.read_bytes() for path in write_report(tmp_path)] == first
    assert not any(b"\r" in content for content in first)


@pytest.mark.parametrize("change", [{"schema": 4}, {"tasks": "none"}])
def test_nothing_is_written_where_the_results_do_not_fit(tmp_path, change):
    write(tmp_path, {**results(), **change})
    with pytest.raises(InputError):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_text_that_no_file_can_hold_is_written_as_a_sign(tmp_path):
    found = results()
    found["languages"]["swh_Latn"] = "Swahili\ud800"
    for path in write_report(write(tmp_path, found)):
        assert "Swahili\ufffd" in path.read_text(encoding="utf-8")


def test_a_report_needs_no_torch(tmp_path):
    program = (
        "import sys; from pathlib import Path; from adamergex.report import write_report\n"
        "write_report(Path(sys.argv[1]))\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'pandas', 'datasets'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(write(tmp_path, results()))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": []},
        {"costs": []},
        {"environment": {}},
        {"languages": {}},
        {"recipe": {}, "recipe_text": ""},
    ],
)
def test_parts_that_are_empty_leave_the_rest(tmp_path, change):
    paths = write_report(write(tmp_path, {**results(), **change}))
    page = paths[0].read_text(encoding="utf-8")
    assert "How it was run" in page
    assert "None" not in page
    assert ("What it took" in page) == (change != {"costs": []})
