"""The command line over steps that do nothing, held where the environment says; see toys."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from adamergex import report
from adamergex.__main__ import run
from adamergex.cli import running
from adamergex.run import local
from tests.support.toys import HELD, SECONDS, TRAIL, held_performed, leave, stuck


def reported(*_: Any) -> None:
    """Takes the place of the report: is held, or stuck."""
    leave(Path(os.environ[TRAIL]), "held")
    if os.environ[HELD] == "report":
        time.sleep(SECONDS)
    stuck()


if __name__ == "__main__":
    local.performed = held_performed
    running.publish = lambda *_: {}
    report.write_report = reported
    run()
