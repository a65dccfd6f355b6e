"""The command line: parsing and printing. Everything else is imported when a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from adamergex.cli.commands import cli
from adamergex.errors import AdamergexError, printable

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    0 where it did what was asked, 2 for a user's mistake, 1 for a failure. Errors are one line on
    standard error; `--debug` shows where they came from.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return cli.main(arguments, prog_name="adamergex", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _failed(error.format_message() + hint, 2)
    except click.Abort:
        return _failed("interrupted", 130)
    except BrokenPipeError:
        # The reader went away (a pager, head): leave nothing for the interpreter to flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _failed(*_explained(error))


def _explained(error: Exception) -> tuple[str, int]:
    """What to tell the user of an error, and the exit code."""
    if isinstance(error, AdamergexError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError):
        extra = "ray" if error.name in ("ray", "fsspec") else "demo"
        return f"{error.name} is not installed: pip install 'adamergex[{extra}]'", 1
    if isinstance(error, OSError):
        return f"{error.filename or 'input/output'}: {error.strerror or error}", 1
    return f"{type(error).__name__}: {error} (unforeseen; --debug shows where)", 1


def _failed(message: str, code: int) -> int:
    click.echo("adamergex: error: " + printable(" ".join(message.split())), err=True)
    return code
