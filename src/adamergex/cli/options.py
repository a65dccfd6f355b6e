"""Options that commands of several groups share."""

from __future__ import annotations

import click

__all__ = ["as_json", "debug", "pickle"]

debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, nothing else."
)
pickle = click.option(
    "--allow-pickle", is_flag=True, help="Read adapter_model.bin, if you trust where it came from."
)
