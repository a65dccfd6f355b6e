"""The command line: parsing and printing. Everything else is imported when a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import click

from adamergex.cli.commands import cli
from adamergex.errors import AdamergexError, printable, told

__all__ = ["main"]


def main(
    arguments: Sequence[str] | None = None, interrupted: Callable[[], bool] = lambda: False
) -> int:
    """Runs one command and returns its exit code.

    0 where it did what was asked, 2 for a user's mistake, 1 for a failure. Errors are one line on
    standard error; `--debug` shows where they came from.

    Args:
        arguments: Those of the command line.
        interrupted: Whether there was an interrupt: some libraries make another error of it.
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
        if interrupted():
            return _failed("interrupted", 130)
        if "--debug" in arguments:
            raise
        foreseen = isinstance(error, AdamergexError | ModuleNotFoundError | OSError)
        hint = "" if foreseen else " (unforeseen; --debug shows where)"
        code = error.exit_code if isinstance(error, AdamergexError) else 1
        return _failed(told(error) + hint, code)


def _failed(message: str, code: int) -> int:
    click.echo("adamergex: error: " + printable(" ".join(message.split())), err=True)
    return code
