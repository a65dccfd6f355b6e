"""Merging needs no training stack: none of it may be imported, which would cost seconds."""

import json
import re
import subprocess
import sys

import pytest

from tests.cli.test_merge import arguments
from tests.support.folders import three, write_ia3, write_lora, write_prefix

HEAVY = ("torch", "transformers", "peft", "scipy", "pandas", "datasets", "jax", "huggingface_hub")

PROGRAM = """
import json, sys
import adamergex
call = json.loads(sys.argv[1])
if call:
    from adamergex.cli import main
    assert main(call) == 0
print(json.dumps(sorted({*sys.modules, *(name.partition(".")[0] for name in sys.modules)})))
"""


def imported(*call):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([str(x) for x in call])],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_alone_does_not_even_import_numpy():
    assert not imported() & {*HEAVY, "numpy", "pydantic", "click", "rich"}


@pytest.mark.parametrize("write", [write_lora, write_ia3, write_prefix])
def test_merge(tmp_path, write):
    found = imported(*arguments(three(tmp_path, write), tmp_path / "out"))
    # The last two are what array-api-compat's wrapper of NumPy would load, a tenth of a second.
    assert not found & {*HEAVY, "rich", "numpy.f2py", "array_api_compat.numpy"}


def test_inspect(tmp_path):
    assert not imported("inspect", *three(tmp_path).values()) & {*HEAVY}


def test_help():
    assert not imported("--help") & {*HEAVY, "numpy", "pydantic"}


def test_what_starts_a_step_does_not_import_what_only_some_steps_need():
    """Every worker of a cluster loads this, and torch would take it seconds."""
    program = "import sys, adamergex.run.functions, adamergex.run.ray; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {*done.stdout.split()} & {*HEAVY, "ray"}


@pytest.mark.parametrize("command", ["demo", "store ls ."])
def test_a_system_without_what_steps_need_is_told_so(tmp_path, command):
    program = """
import sys
sys.modules |= dict.fromkeys(("fcntl", "resource"))  # as on Windows
from adamergex.cli import main
sys.exit(main(sys.argv[1:]))
"""
    call = [sys.executable, "-c", program, *command.split()]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    said = "only merge and inspect do without Linux or macOS"
    error = re.fullmatch(f"adamergex: error: this system has no (.*): {said}\n", done.stderr)
    assert error[1] in ("fcntl", "resource")
    assert done.returncode == 1


def test_a_merge_needs_no_such_system(tmp_path):
    program = """
import sys
sys.modules |= dict.fromkeys(("fcntl", "resource", "psutil"))
from adamergex.cli import main
sys.exit(main(sys.argv[1:]))
"""
    call = [sys.executable, "-c", program, *arguments(three(tmp_path), tmp_path / "out")]
    assert subprocess.run(call, check=False).returncode == 0
