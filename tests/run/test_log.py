"""What nobody foresaw is one line, and a file that says where it came from."""

import pytest

from adamergex.cli import main
from adamergex.errors import AdamergexError, InputError, UnforeseenError
from adamergex.run.log import LOG_FILE, logged


def told_of(error, folder):
    with pytest.raises(AdamergexError) as raised, logged(folder):
        raise error
    return str(raised.value)


def test_where_an_error_came_from_is_kept(tmp_path):
    log = tmp_path / LOG_FILE
    assert told_of(ZeroDivisionError("by zero"), tmp_path) == (
        f"ZeroDivisionError: by zero (unforeseen: {log} says where)"
    )
    assert "in told_of" in log.read_text(encoding="utf-8")


def test_also_that_of_another_process(tmp_path):
    error = UnforeseenError("train T: KeyError: 'text'", "Traceback of the other process\n")
    assert told_of(error, tmp_path).startswith("train T: KeyError: 'text' (unforeseen: ")
    assert "Traceback of the other process" in (tmp_path / LOG_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "error", [AdamergexError("out of memory?"), InputError("rows", found=0, needed="one")]
)
def test_what_is_foreseen_leaves_none(tmp_path, error):
    assert told_of(error, tmp_path) == str(error)
    assert not (tmp_path / LOG_FILE).exists()


def test_a_log_that_cannot_be_written_hides_no_error(tmp_path):
    assert told_of(ZeroDivisionError("by zero"), tmp_path / "none") == "ZeroDivisionError: by zero"


@pytest.mark.parametrize("at", ["execute", "publish"])
def test_of_whatever_a_run_is_at(tmp_path, monkeypatch, capsys, at):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("adamergex.cli.running.execute", lambda *_, **__: None)
    monkeypatch.setattr(f"adamergex.cli.running.{at}", broken)
    assert main(["demo", "--targets", "fa", "--output", str(tmp_path)]) == 1
    log = tmp_path / LOG_FILE
    assert capsys.readouterr().err == (
        f"adamergex: error: ZeroDivisionError: by zero (unforeseen: {log} says where)\n"
    )
    assert "in broken" in log.read_text(encoding="utf-8")
