"""Finished steps at an fsspec URL, such as s3://bucket/steps: for machines that share no disk.

An object store cannot rename a folder into place. So a step's files are put there one by one and
its record last: a step is finished once its record is there. Every machine has a cache, in which it
works as in any store; what it fetches is compared with the SHA-256 of each file in the record.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from adamergex.cache import cache_folder
from adamergex.errors import AdamergexError, InputError
from adamergex.run.store import RECORD_FILE, Store, identity, read_record
from adamergex.run.worker import performed
from adamergex.step import Step, counted, digest

__all__ = ["SharedStore", "store_at"]


def store_at(place: str) -> Store | SharedStore:
    """The store at a URL, or in a folder. Raises InputError for one that cannot be used."""
    return SharedStore(place) if "://" in place else Store(Path(place))


class SharedStore:
    """A store of steps at a URL.

    Args:
        url: Where.
        cache: A folder of this machine's own; by default in the user's cache folder.

    Raises:
        InputError: A URL of an unknown kind, or one that needs a package which is not there.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        from fsspec.core import url_to_fs

        local = {"auto_mkdir": True} if url.startswith("file://") else {}
        try:
            self._remote, self._root = url_to_fs(url.rstrip("/"), **local)
        except (ImportError, ValueError) as error:
            needed = "a URL that fsspec knows, and its package (s3fs, gcsfs)"
            raise InputError("store", found=f"{url} ({error})", needed=needed) from error
        self.url = url
        self.cache = Store(cache or _cache_of(self.url))
        self._given: set[Step] = set()

    def finished(self, step: Step) -> bool:
        """Whether the step was done, here or in an earlier run."""
        try:
            with self._reaching():
                # Not `exists`, to which whatever goes wrong on the way means no.
                self._remote.info(self._at(step, RECORD_FILE))
        except FileNotFoundError:
            return False
        return True

    def record(self, step: Step) -> dict[str, Any]:
        """What a finished step said of itself."""
        with self._reaching():
            text = self._remote.cat_file(self._at(step, RECORD_FILE))
        return json.loads(text)

    def damage(self, step: Step) -> str | None:
        """Which file of a finished step is missing; None where all are there.

        What is in them is seen when they are fetched: to look now would be to fetch everything.
        """
        try:
            wanted = set(self.record(step)["files"])
        except (ValueError, KeyError):
            return f"{RECORD_FILE} cannot be read"
        with self._reaching():
            found = self._remote.find(self._at(step))
        missing = wanted - {name.removeprefix(f"{self._at(step)}/") for name in found}
        return f"{min(missing)} is missing" if missing else None

    def discard(self, step: Step) -> None:
        """Forgets a step: it is not finished any more."""
        with self._reaching(), suppress(FileNotFoundError):
            # The record first: what is left of a removal that is interrupted is no result.
            self._remote.rm_file(self._at(step, RECORD_FILE))
            self._remote.rm(self._at(step), recursive=True)

    def in_use(self) -> AbstractContextManager[None]:
        """Nothing clears a store at a URL."""
        return nullcontext()

    def path(self, step: Step) -> Path:
        """The folder of a finished step on this machine: fetched if need be, and checked.

        Raises:
            AdamergexError: A file that is not what was put there; its step is discarded.
        """
        self._drop_if_damaged(step)
        self.cache.fill(step, lambda out: self._fetch(step, out))
        return self.cache.path(step)

    def give(self, step: Step) -> None:
        """Puts the local files that a step reads where other machines find them, once.

        Raises:
            InputError: One that has changed since the run was planned.
        """
        for sha, path in step.files.items():
            given = _given(sha, path)
            if given in self._given:
                continue
            if not self.finished(given) or self.damage(given):
                if digest(path) != sha:
                    found = "another content than when the run was planned"
                    raise InputError(path, found=found, needed="it")
                self._put(given, _files_of(path))
            self._given.add(given)

    def perform(self, step: Step) -> None:
        """Does one step in this process: fetches what it needs, and puts there what it made."""
        for needed in step.inputs.values():
            self.path(needed)
        files = {sha: self.path(_given(sha, path)) / path.name for sha, path in step.files.items()}
        # Every machine's cache is another place, and adapters of one model, which name it, would
        # seem to be of several: they name it as where the run was started.
        names = {sha: str(path) for sha, path in step.files.items()}
        self._drop_if_damaged(step)
        performed(replace(step, files=files, names=names), self.cache.folder)
        made = self.cache.path(step)
        self._upload(step, {name: made / name for name in read_record(made)["files"]}, made)

    def _drop_if_damaged(self, step: Step) -> None:
        """The cache is only a copy: what is damaged in it is fetched, or made, anew."""
        if self.cache.finished(step) and self.cache.damage(step):
            self.cache.discard(step)

    def _fetch(self, step: Step, out: Path) -> dict[str, Any]:
        record = self.record(step)
        for name, sha in record["files"].items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise AdamergexError(f"{self.url}: {step.folder}: {name} lies outside its step")
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            with self._reaching():
                self._remote.get_file(self._at(step, name), str(out / name))
            if digest(out / name) != sha:
                self.discard(step)
                problem = f"{name} has changed since it was made; run again, and it is made anew"
                raise AdamergexError(f"{self.url}: {step.folder}: {problem}")
        return record

    def _put(self, step: Step, files: Mapping[str, Path]) -> None:
        record = identity(step, files)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")
            self._upload(step, files, Path(folder))

    def _upload(self, step: Step, files: Mapping[str, Path], recorded: Path) -> None:
        """Puts the files there, and then the record that is in the folder `recorded`."""
        with self._reaching():
            for name, path in {**files, RECORD_FILE: recorded / RECORD_FILE}.items():
                self._remote.put_file(str(path), self._at(step, name))

    def _at(self, step: Step, name: str = "") -> str:
        return "/".join(filter(None, (self._root, step.folder, name)))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Names the store when it fails; a file that is not there is for the caller to judge."""
        self._remote.invalidate_cache()  # of what it listed: other machines write there too
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise AdamergexError(f"{self.url}: {type(error).__name__}: {error}") from error


def _given(sha: str, path: Path) -> Step:
    """A local file or folder as a step that is finished when it has been put there."""
    return Step("file", {"sha256": sha, "name": path.name}, label=str(path))


def _files_of(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    return {f"{path.name}/{name}": file for name, file in counted(path).items()}


def _cache_of(url: str) -> Path:
    return cache_folder() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
