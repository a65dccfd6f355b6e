"""One interrupt ends the command line and all that it started, whatever it is at."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.clusters import eventually
from tests.support.toys import HELD, TRAIL, gone

LONG = 30
"""Seconds; it takes less than 5, but on a busy machine anything may take long."""


@pytest.fixture
def started(tmp_path):
    """The command line over toy steps, in a session of its own: a terminal signals all of it."""
    runs = []

    def start(held, program="tests.support.toy_command", *more):
        call = [sys.executable, "-m", program, "demo", "--targets", "fa", "--workers", "2", *more]
        run = subprocess.Popen(
            [*call, "--output", tmp_path / "out"],
            env={**os.environ, TRAIL: str(tmp_path), HELD: held},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.stderr.close()
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def descendants(run):
    return psutil.Process(run.pid).children(recursive=True)


def ended(run, others):
    """Its exit code and what it said; those that it had started have ended, too."""
    _, said = run.communicate(timeout=LONG)
    _, left = psutil.wait_procs(others, timeout=LONG)
    assert left == []
    return run.returncode, said


def one_line(said):
    """What it said after what was done until then."""
    *before, last = said.splitlines()
    assert not [line for line in before if "Error" in line or "Traceback" in line]
    return last


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "terminal"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_while_steps_run(started, tmp_path, send, number):
    run = started("train")
    eventually((tmp_path / "held").exists)
    eventually((tmp_path / "grandchild").exists)
    others = descendants(run)
    assert len(others) >= 3  # two workers, and what one of them has started
    send(run.pid, number)
    code, said = ended(run, others)
    assert code == 128 + number
    if send is os.kill or number == signal.SIGINT:  # else the workers' own end may be seen first
        assert one_line(said) == "adamergex: error: interrupted"
    assert gone(tmp_path, "held")
    assert gone(tmp_path, "grandchild")


def test_while_workers_load(started):
    run = started("model")
    eventually(lambda: any("spawn_main" in " ".join(p.cmdline()) for p in descendants(run)))
    others = descendants(run)
    os.killpg(run.pid, signal.SIGINT)
    code, said = ended(run, others)
    assert (code, one_line(said)) == (130, "adamergex: error: interrupted")


def handles(run, number):
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{run.pid}/status").read_text(encoding="ascii")
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return int(caught, 16) >> (number - 1) & 1


@pytest.mark.parametrize("seconds", [0, 0.05, 0.15])
def test_while_it_is_being_imported(started, seconds):
    run = started("", "adamergex", "--dry-run")
    eventually(lambda: handles(run, signal.SIGTERM))  # before, it is only Python that starts
    time.sleep(seconds)
    os.killpg(run.pid, signal.SIGINT)
    code, said = ended(run, [])
    assert (code, one_line(said)) == (130, "adamergex: error: interrupted")


def test_while_the_report_is_written(started, tmp_path):
    run = started("report")
    eventually((tmp_path / "held").exists)
    os.kill(run.pid, signal.SIGINT)
    code, said = ended(run, descendants(run))
    assert (code, one_line(said)) == (130, "adamergex: error: interrupted")


def test_while_it_is_stuck_where_no_signal_reaches_it(started, tmp_path):
    run = started("in C")
    eventually((tmp_path / "held").exists)
    os.kill(run.pid, signal.SIGINT)
    code, said = ended(run, [])
    assert (code, one_line(said)) == (130, "adamergex: error: interrupted")


def test_more_interrupts_do_no_harm(started, tmp_path):
    run = started("train")
    eventually((tmp_path / "grandchild").exists)
    others = descendants(run)
    for _ in range(50):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.001)
    code, said = ended(run, others)
    assert (code, one_line(said)) == (130, "adamergex: error: interrupted")


def test_a_failed_step_ends_the_run_by_itself(started, tmp_path):
    """What others are at is not waited for; where the error came from is kept."""
    run = started("failure merge")
    code, said = ended(run, [])
    log = tmp_path / "out" / "error.log"
    assert code == 1
    assert one_line(said).endswith(f": OddError: response 418 (unforeseen: {log} says where)")
    assert "in held_performed" in log.read_text(encoding="utf-8")
