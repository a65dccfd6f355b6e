"""Finished steps on disk, one folder each, found by fingerprint."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from adamergex.errors import AdamergexError, InputError
from adamergex.step import Step, digest

__all__ = ["CHECKPOINTS", "RECORD_FILE", "Store", "identity", "read_record"]

RECORD_FILE = "record.json"

CHECKPOINTS = "checkpoints"
"""What a step keeps in this subfolder outlives its being killed; gone when it is finished."""

_LOCKS = ".locks"
_IN_USE = "in-use"
_FULL = "No space left on device"
_LITTLE = 2**16  # bytes: so few are free when a write has just failed for want of them


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a finished step's folder."""
    return json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))


def identity(step: Step, files: Mapping[str, Path]) -> dict[str, Any]:
    """What every record says: which step it is of, and the SHA-256 of each of its files."""
    return {
        "kind": step.kind,
        "label": step.label,
        "fingerprint": step.fingerprint,
        "files": {name: digest(path) for name, path in files.items()},
    }


class Store:
    """A folder of steps. A step is finished if its folder is there: it is renamed into place whole.

    Args:
        folder: Where; made if it is not there.

    Raises:
        InputError: A folder that cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        with self._writing():
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

        If it raises, or the process dies, nothing stands under the step's name, and of what was
        made only the subfolder CHECKPOINTS stays for the next attempt. A step that another process
        is at is waited for, and not done twice.

        Raises:
            InputError: A store that cannot be written to.
            AdamergexError: A full disk.
            Exception: What `function` raises, where it is not that.
        """
        with self._held(step.folder):
            if self.finished(step):
                return
            stage = self.folder / f".{step.folder}"
            try:
                with self._writing():
                    _cleared(stage)
                    stage.mkdir(exist_ok=True)
                with self._writing(step.label or step.kind):
                    record = function(stage)
                with self._writing():
                    shutil.rmtree(stage / CHECKPOINTS, ignore_errors=True)
                    self._seal(step, stage, record)
            finally:
                _cleared(stage)

    def _seal(self, step: Step, stage: Path, record: dict[str, Any]) -> None:
        """On disk before it is believed: everything, then the record, then the name."""
        files = {path.relative_to(stage).as_posix(): path for path in _files(stage)}
        for path in files.values():
            _synced(path)
        known = identity(step, files)
        text = json.dumps({**known, **record, **known}, indent=1, allow_nan=False)
        (stage / RECORD_FILE).write_text(text, encoding="utf-8")
        _synced(stage / RECORD_FILE)
        shutil.rmtree(self.path(step), ignore_errors=True)  # if there is one, it has no record
        stage.rename(self.path(step))
        _synced(self.folder)

    def damage(self, step: Step) -> str | None:
        """What is not as it was written in a finished step's folder; None where all is."""
        return damage(self.path(step))

    def discard(self, step: Step) -> None:
        """Forgets a step: it is not finished any more."""
        self.drop(step.folder)

    def drop(self, name: str) -> None:
        """Removes the folder of that name."""
        with self._held(name), self._writing():
            # The record first: what is left of a removal that is interrupted is no result.
            (self.folder / name / RECORD_FILE).unlink(missing_ok=True)
            shutil.rmtree(self.folder / name)

    def entries(self) -> list[Path]:
        """The folders of all finished steps, those of other plans too, by name."""
        return sorted(path.parent for path in self.folder.glob(f"[!.]*/{RECORD_FILE}"))

    def unfinished(self) -> Iterator[Path]:
        """What killed runs left and no run is at; each is held while it is yielded."""
        for path in sorted(self.folder.iterdir()):
            abandoned = path.name.startswith(".") and path.name != _LOCKS
            if path.is_dir() and (abandoned or _broken(path)):
                try:
                    with self._held(path.name.removeprefix("."), wait=False):
                        yield path
                except BlockingIOError:
                    continue

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Keeps what is finished from being cleared away meanwhile, by `quiet`; waits for it."""
        try:
            lock = self._lock(_IN_USE)
        except AdamergexError:  # what cannot be written to is not cleared either
            yield
            return
        with lock as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextmanager
    def quiet(self) -> Generator[None]:
        """Has the store for clearing away: what begins to use it meanwhile waits.

        Raises:
            AdamergexError: A run is using it.
        """
        with self._lock(_IN_USE) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problem = "a run is using it: clear it when that has ended"
                raise AdamergexError(f"{self.folder}: {problem}") from None
            yield

    @contextmanager
    def _held(self, name: str, *, wait: bool = True) -> Generator[None]:
        """Holds a step, for this process alone. Raises BlockingIOError instead of waiting."""
        with self._lock(name) as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield

    def _lock(self, name: str) -> IO[str]:
        with self._writing():
            locks = self.folder / _LOCKS
            locks.mkdir(exist_ok=True)
            return (locks / name).open("w")

    @contextmanager
    def _writing(self, other: str = "") -> Generator[None]:
        """Says what it means for a run when something cannot be written.

        Args:
            other: Who writes; the store if empty. Of another's errors only those are the store's
                that name a file in it, or no file while the store's disk is full.
        """
        try:
            yield
        except AdamergexError:
            raise
        except Exception as error:
            name = getattr(error, "filename", None)
            named = isinstance(name, str | bytes)
            ours = Path(os.fsdecode(name)).is_relative_to(self.folder) if named else not other
            if ours and isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
                needed = "a folder that can be written to"
                raise InputError(self.folder, found=error.strerror, needed=needed) from error
            ours = ours or (not named and self._is_full())
            if _says_full(error) or (ours and self._is_full()):
                where = self.folder if ours else name if named else other
                kept = "what is finished is kept: free some space and run again"
                raise AdamergexError(f"{where}: the disk is full; {kept}") from error
            raise

    def _is_full(self) -> bool:
        """Libraries in other languages say it in their own words, or not at all."""
        try:
            return shutil.disk_usage(self.folder).free < _LITTLE
        except OSError:  # it could not be made
            return False


def _says_full(error: Exception) -> bool:
    known = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return known or _FULL in str(error)


def damage(folder: Path) -> str | None:
    """What is not as it was written in the folder of a finished step; None where all is."""
    try:
        wanted = read_record(folder)["files"]
    except (ValueError, KeyError):
        return f"{RECORD_FILE} cannot be read"
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    del found[RECORD_FILE]
    for name in sorted({*wanted, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} was not there"
        if digest(found[name]) != wanted[name]:
            return f"{name} has changed"
    return None


def _broken(folder: Path) -> bool:
    """Whether a folder has a step's name and no record."""
    kind, _, fingerprint = folder.name.rpartition("-")
    return bool(kind) and len(fingerprint) == 64 and not (folder / RECORD_FILE).exists()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _cleared(stage: Path) -> None:
    """Removes everything in a stage but what is kept for the next attempt; or the stage."""
    if not (stage / CHECKPOINTS).is_dir():
        shutil.rmtree(stage, ignore_errors=True)
        return
    for path in stage.iterdir():
        if path.is_dir() and path.name != CHECKPOINTS:
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()


def _synced(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
