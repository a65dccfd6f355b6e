"""Looking after a store: what is in it, whether it is whole, what can be removed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from adamergex.errors import InputError
from adamergex.run.store import RECORD_FILE, Store, damage, read_record

__all__ = ["Entry", "damaged", "finished", "opened", "removed"]


@dataclass(frozen=True)
class Entry:
    """A finished step.

    Attributes:
        folder: Where it is.
        kind: What was done.
        label: For people.
        bytes: How much it holds.
        seconds: How long it took, where that was measured.
    """

    folder: Path
    kind: str
    label: str
    bytes: int
    seconds: float | None


def opened(folder: Path) -> Store:
    """The store of a run's folder, or at it. Raises InputError where there is none."""
    inner = folder / "steps"
    if inner.is_dir():
        return Store(inner)
    if not any(folder.glob(f"*-*/{RECORD_FILE}")):
        raise InputError(folder, found="no finished steps", needed="the folder of a run")
    return Store(folder)


def finished(store: Store) -> list[Entry]:
    """What is finished, in the order of kinds and labels; records that cannot be read left out."""
    found: list[Entry] = []
    for folder in store.entries():
        try:
            record = read_record(folder)
            entry = Entry(
                folder, record["kind"], record["label"], _size(folder), record.get("seconds")
            )
        except (ValueError, KeyError):
            continue
        found.append(entry)
    return sorted(found, key=lambda entry: (entry.kind, entry.label, entry.folder.name))


def damaged(store: Store) -> list[tuple[Path, str]]:
    """Each finished step that is not as it was written, and what is wrong."""
    found = ((folder, damage(folder)) for folder in store.entries())
    return [(folder, problem) for folder, problem in found if problem is not None]


def removed(
    store: Store, keep: Collection[str] | None, *, dry_run: bool
) -> Iterator[tuple[Path, int]]:
    """Removes what killed runs left, damaged steps, and those of no plan.

    Args:
        store: The store.
        keep: Names of the step folders to keep; None for all that are whole.
        dry_run: Whether to remove nothing.

    Yields:
        Each folder, and its bytes.

    Raises:
        AdamergexError: A run is using the store, and may need what no plan here does.
    """
    with nullcontext() if dry_run else store.quiet():
        for folder in store.unfinished():
            yield folder, _size(folder)
            if not dry_run:
                shutil.rmtree(folder)
        for folder in store.entries():
            wanted = keep is None or folder.name in keep
            if not wanted or damage(folder) is not None:
                yield folder, _size(folder)
                if not dry_run:
                    store.drop(folder.name)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
