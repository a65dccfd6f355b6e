"""A step: the unit of work, of caching and of resuming.

A step is known by its fingerprint: SHA-256 of the canonical JSON of what it does and, by their own
fingerprints, of what it takes. Where and how it runs is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

__all__ = ["SCHEMA", "Step", "counted", "digest", "digesting", "in_order"]

SCHEMA = 3
"""Raised when records or folders change their meaning: old ones are then not used again."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a plan.

    Attributes:
        kind: What is done; run.functions has one function for each kind.
        config: With which values: JSON types only.
        inputs: Role -> the step whose folder is read.
        label: For people; not part of the identity.
        version: Of the function; raised when the same config would give another result.
        files: SHA-256 -> where a file with that content lies. `config` names it by the SHA-256;
            the place is not part of the identity.
        names: SHA-256 -> what results call that file, where it lies elsewhere meanwhile; not part
            of the identity either.
        processes: How many share the work, where it is a training; not part of the identity.
        shard: Whether they divide the base model among them; not part of it either.
        execution: Names and values of TrainingArguments that change no result; not part of it.
    """

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Step] = field(default_factory=dict)
    label: str = ""
    version: int = 1
    files: Mapping[str, Path] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    shard: bool = False
    execution: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits. Raises TypeError or ValueError for what JSON cannot hold."""
        identity = {
            "schema": SCHEMA,
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "inputs": {role: step.fingerprint for role, step in self.inputs.items()},
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of its folder in a store."""
        return f"{self.kind}-{self.fingerprint}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def in_order(wanted: Iterable[Step]) -> list[Step]:
    """All steps that `wanted` need, themselves included, each once and after its inputs."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> Iterator[Step]:
        if step.fingerprint not in found:
            for needed in step.inputs.values():
                yield from visit(needed)
            if step.fingerprint not in found:
                found[step.fingerprint] = step
                yield step

    return [step for last in wanted for step in visit(last)]


def digest(path: Path) -> str:
    """What stands for a local file or folder in a step's config, wherever it lies: a SHA-256.

    Of every file its name and what it holds; of a folder not hidden files and pages to read.
    """
    if path.is_file():
        return _file_digest(path)
    found = hashlib.sha256()
    for name, file in counted(path).items():
        found.update(f"{len(name)} {name} {_file_digest(file)}\n".encode())
    return found.hexdigest()


@contextmanager
def digesting(paths: Iterable[Path]) -> Generator[None]:
    """Begins to digest those of `paths` that are files, one after the other, in a thread.

    It does not end with the block. Who asks for the digest of a file that is being read waits for
    it; errors are left to them. Within the block Python's threads take turns more often than they
    are used to, or the thread would wait for most of it: meant for imports.
    """

    def run() -> None:
        with suppress(OSError):
            for path in paths:
                if path.is_file():
                    digest(path)

    Thread(target=run, daemon=True).start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 25)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def counted(folder: Path) -> dict[str, Path]:
    """The files of a folder that its digest is of, by their names from it on."""
    places = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {
        place.as_posix(): path
        for place, path in places.items()
        if path.suffix != ".md" and not any(part.startswith(".") for part in place.parts)
    }


def _file_digest(path: Path) -> str:
    state = path.stat()
    key = (path, state.st_mtime_ns, state.st_size)
    with _turn(*key):
        return _digest_of(*key)


@lru_cache(maxsize=4096)
def _turn(path: Path, changed: int, size: int) -> Lock:  # noqa: ARG001 - they are the key
    """Held while that file is read, so that no other thread reads it as well."""
    return Lock()


@lru_cache(maxsize=4096)
def _digest_of(path: Path, changed: int, size: int) -> str:  # noqa: ARG001 - they are the key
    """SHA-256 of a file; a plan asks for that of one file many times."""
    with path.open("rb") as content:
        found = hashlib.sha256()
        while part := content.read(2**20):
            found.update(part)
    return found.hexdigest()
