"""Finished steps on disk, one folder each, found by fingerprint."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.step import Step

__all__ = ["RECORD_FILE", "Store", "read_record"]

RECORD_FILE = "record.json"


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a finished step's folder."""
    return json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))


class Store:
    """A folder of steps. A step is finished if its folder is there: it is renamed into place whole.

    Args:
        folder: Where; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, step: Step) -> Path:
        """The folder of a step, finished or not."""
        return self.folder / step.folder

    def finished(self, step: Step) -> bool:
        """Whether the step was done, here or in an earlier run."""
        return (self.path(step) / RECORD_FILE).is_file()

    def record(self, step: Step) -> dict[str, Any]:
        """What a finished step said of itself."""
        return read_record(self.path(step))

    def fill(self, step: Step, function: Callable[[Path], dict[str, Any]]) -> None:
        """Runs `function` on a new folder, writes its record last, renames the folder into place.

        If it raises, or the process dies, nothing stands under the step's name.
        """
        stage = Path(tempfile.mkdtemp(prefix=f".{step.folder}.", dir=self.folder))
        try:
            record = function(stage)
            identity = {"kind": step.kind, "label": step.label, "fingerprint": step.fingerprint}
            text = json.dumps({**identity, **record, **identity}, indent=1, allow_nan=False)
            (stage / RECORD_FILE).write_text(text, encoding="utf-8")
            stage.chmod(0o755)  # mkdtemp makes it private
            if not self.finished(step):  # then what stands there, if anything, is no result
                shutil.rmtree(self.path(step), ignore_errors=True)
                stage.rename(self.path(step))
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Holds the store for one run. Raises InputError where another run holds it."""
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                needed = "its end, or another folder"
                raise InputError(self.folder, found="another run at work", needed=needed) from None
            yield

    def sweep(self) -> None:
        """Removes what killed runs left half-done; to be called by the run that holds the store."""
        for stage in self.folder.glob(".*-*"):
            shutil.rmtree(stage, ignore_errors=True)
