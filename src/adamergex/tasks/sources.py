"""Where rows come from: the Hub, a file, or the emoji packages.

A source is a small dictionary that can stand in a step's config. A file stands in it by the
SHA-256 of what it holds; where it lies is no part of what a step is.

    {"hub": "Davlan/sib200", "name": "swh_Latn", "split": "test", "options": {}, "reading": 2}
    {"file": "<sha256>", "format": "tsv", "quoting": "csv", "columns": ["question", "answer"],
     "part": [0, 150], "reading": 2}
    {"builtin": "emoji", "language": "fa", "split": "dev", "versions": {"emoji": "2.16.0"}}
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from adamergex.checkpoint import commit
from adamergex.errors import InputError
from adamergex.plain import check_downloaded
from adamergex.step import digest
from adamergex.tasks.readers import json_rows, parquet_rows, text_in, text_rows
from adamergex.tasks.row import Row, cell
from adamergex.tasks.tables import LONGEST, Dialect, dialect_of, table

__all__ = [
    "FORMATS",
    "Files",
    "Source",
    "file_source",
    "hub_source",
    "rows",
    "sliced",
    "taken",
    "told",
]

Source = dict[str, Any]
Files = Mapping[str, Path]

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt")
_READING = 2
"""Raised when the same file, or data set, gives other rows or other texts: what was trained and
scored on them is then not used again. It stands in sources and not in SCHEMA, so that models, and
what comes of the emoji data, stay as they are. 2: cells are as they are written."""
_LARGEST = 2**30
_LARGEST_JSON = 2**28
"""Bytes of a file, all of which is read into memory; JSON may be twenty times as large there."""
_MOST_ROWS, _MOST_CELLS = 10**7, 5 * 10**7
"""A row is a dictionary: a quarter of a kilobyte before anything is in it."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = re.compile(r"(?P<name>.+?)\[(?P<start>\d*):(?P<stop>\d*)\]")


def file_source(
    path: str, folder: Path, columns: Sequence[str] | None = None, quoting: str | None = None
) -> tuple[Source, Path]:
    """The source that a file is, and where it lies.

    Args:
        path: A csv, tsv, json, jsonl, parquet or txt file, relative to `folder`. `[a:b]` after the
            name takes rows a to b, without b: several splits can so be cut from one file.
        folder: What relative paths start from.
        columns: Names of the columns of a csv or tsv file that has no header line.
        quoting: What quotation marks in csv and tsv are, see tables.Dialect; None to tell from
            the file.

    Raises:
        InputError: No such file, or of another format; a tsv file whose quotation marks may be
            meant one way or the other.
    """
    name, part = sliced(path)
    where = (folder / name).resolve()
    kind = where.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(where, "file name", found=where.suffix, needed=" or ".join(FORMATS))
    if not where.is_file():
        raise InputError(where, found="no such file", needed="a data file")
    source: Source = {"file": digest(where), "format": kind, "reading": _READING}
    if kind in ("csv", "tsv"):
        dialect = _dialect(where, source["file"], kind, tuple(columns or ()), quoting)
        if not dialect.plain:
            source |= {"separator": dialect.separator, "quoting": dialect.quoting}
    if columns:
        source["columns"] = list(columns)
    if part:
        source["part"] = part
    return source, where


@lru_cache(maxsize=256)
def _dialect(
    path: Path,
    sha: str,  # noqa: ARG001 - a file that has changed is another one
    kind: str,
    columns: tuple[str, ...],
    quoting: str | None,
) -> Dialect:
    """How a table is written. It is read for that, and a plan asks for one file many times."""
    _check_size(path, kind)
    return dialect_of(text_in(path, kind), kind, path, columns or None, quoting)


def sliced(name: str) -> tuple[str, list[int | None] | None]:
    """A path or a split without the `[a:b]` behind it, and a and b; None where it has none."""
    match = _PART.fullmatch(name)
    if match is None:
        return name, None
    return match["name"], [int(n) if n else None for n in match.group("start", "stop")]


def hub_source(path: str, name: str | None, split: str, options: Mapping[str, Any]) -> Source:
    """The source that one split of a Hub data set is; `split` may end in `[a:b]`, in rows.

    Its revision is the commit that the data set is at now, where that is known.
    """
    found = None if Path(path).is_dir() else commit(path, "dataset", options.get("revision"))
    now = {"revision": found} if found else {}
    return {
        "hub": path, "name": name, "split": split, "options": {**options, **now},
        "reading": _READING,
    }  # fmt: skip


def told(source: Source) -> str | None:
    """How a table is read that could be read otherwise, for people; None of all others."""
    if "quoting" not in source:
        return None
    names = {"\t": "tabs", ",": "commas"}
    separator = names.get(source["separator"], source["separator"])
    marks = {
        "csv": "quotation marks around fields are csv's, not the text's",
        "none": "quotation marks are the text's own",
    }
    return f"fields between {separator}; {marks[source['quoting']]}"


def rows(source: Source, files: Files, *, faulty: bool = False) -> list[Row]:
    """The rows of a source.

    Args:
        source: See above.
        files: SHA-256 -> where that file lies.
        faulty: Whether rows that are none, of too few fields for instance, stay, with a fault.

    Raises:
        InputError: A file that has changed since the plan was made, or cannot be read; a row that
            is none.
    """
    if "builtin" in source:
        from adamergex.tasks import emoji

        found = emoji.rows(source["language"], source["split"])
        return [Row(row, "emoji", i) for i, row in enumerate(found)]
    if "hub" in source:
        return _hub_rows(source)
    path = files[source["file"]]
    if digest(path) != source["file"]:
        raise InputError(path, found="another content than when the run was planned", needed="it")
    _check_whole(path, source["format"])
    _check_size(path, source["format"])
    start, stop = source.get("part") or (None, None)
    found = _file_rows(path, source)[start:stop]
    if not faulty:
        for row in found:
            if row.fault is not None:
                raise row.fault
    return found


def taken(found: Sequence[Any], most: int | None, seed: int = 0) -> list[Any]:
    """At most `most` of them, drawn at random and in their order.

    Which are drawn depends on how many there are and on nothing else: of parallel files the same
    ones are.
    """
    if most is None or len(found) <= most:
        return list(found)
    return [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), most))]


def _hub_rows(source: Source) -> list[Row]:
    import datasets

    data = datasets.load_dataset(
        source["hub"], source["name"], split=source["split"], **source["options"]
    )
    _check_commit(source, data)
    name = " ".join(str(source[key]) for key in ("hub", "name", "split") if source[key])
    features = getattr(data, "features", None) or {}
    kinds = {column: str(getattr(kind, "dtype", "")) for column, kind in features.items()}
    kinds = {column: kind for column, kind in kinds.items() if kind in ("float16", "float32")}
    return [
        Row({column: cell(value, kinds.get(column, "")) for column, value in row.items()}, name, i)
        for i, row in enumerate(data)
    ]


def _check_commit(source: Source, data: Any) -> None:
    """Without the Hub, `datasets` takes the latest that its cache has, of whatever commit."""
    wanted = str(source["options"].get("revision"))
    for file in data.cache_files:
        read = Path(file["filename"]).parent.name
        if _COMMIT.fullmatch(read) and _COMMIT.fullmatch(wanted) and read != wanted:
            needed = f"{wanted}: connect to the Hub"
            raise InputError(source["hub"], "commit in the cache", found=read, needed=needed)


def _check_whole(path: Path, kind: str) -> None:
    """Raises InputError for what a broken download leaves; text may begin as a web page does."""
    with path.open("rb") as file:
        begin = file.read(64)
    if begin and (kind in ("json", "jsonl", "parquet") or begin.startswith(b"version https://")):
        check_downloaded(begin, f"{kind} that can be read", path)


def _check_size(path: Path, kind: str) -> None:
    """Raises InputError for a file that would take more memory than anyone has for it."""
    size, most = path.stat().st_size, _LARGEST_JSON if kind == "json" else _LARGEST
    if size > most:
        raise InputError(path, found=f"{size} bytes", needed=f"at most {most}")
    if kind == "json":
        return
    rows, cells = _counted(path, kind)
    for found, needed, what in ((rows, _MOST_ROWS, "rows"), (cells, _MOST_CELLS, "cells")):
        if found > needed:
            raise InputError(path, found=f"{found} {what}", needed=f"at most {needed}")


def _counted(path: Path, kind: str) -> tuple[int, int]:
    """The most rows and cells that a file can have, without reading it into memory."""
    if kind == "parquet":
        from pyarrow import ArrowException, parquet

        try:
            facts = parquet.read_metadata(path)
        except (ArrowException, OSError) as error:
            raise InputError(path, found=str(error), needed="parquet that can be read") from None
        return facts.num_rows, facts.num_rows * facts.num_columns
    rows = cells = 0
    marks = {"csv": (b",", b";", b"\t", b"|"), "tsv": (b"\t",)}.get(kind, (b"\n",))
    with path.open("rb") as file:
        while line := file.readline(LONGEST + 1):
            if len(line) > LONGEST:
                found, needed = f"more than {LONGEST} bytes", f"at most {LONGEST}"
                raise InputError(path, f"line {rows + 1}", found=found, needed=needed)
            rows += 1
            cells += 1 + max(line.count(mark) for mark in marks)
    return rows, cells


def _file_rows(path: Path, source: Source) -> list[Row]:
    kind = source["format"]
    if kind == "parquet":
        return parquet_rows(path)
    text = text_in(path, kind)
    if kind == "txt":
        return text_rows(text, path)
    if kind in ("json", "jsonl"):
        return json_rows(text, path, kind)
    columns = source.get("columns")
    dialect = (
        Dialect(source["separator"], source["quoting"])
        if "quoting" in source
        else dialect_of(text, kind, path, columns)
    )
    return list(table(text, dialect, path, columns))
