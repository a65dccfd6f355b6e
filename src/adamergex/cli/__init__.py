"""The command line: parsing and printing. Everything else is imported when a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from adamergex.cli.commands import cli
from adamergex.errors import AdamergexError

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
        where = (
            f"{error.ctx.command_path} --help"
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        return _failed(error.format_message() + (f" (see {where})" if where else ""), 2)
    except click.Abort:
        return _failed("interrupted", 130)
    except AdamergexError as error:
        if "--debug" in arguments:
            raise
        return _failed(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader went away (a pager, head): leave nothing for the interpreter to flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if "--debug" in arguments:
            raise
        return _failed(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)


def _failed(message: str, code: int) -> int:
    click.echo("adamergex: error: " + " ".join(message.split()), err=True)
    return code
