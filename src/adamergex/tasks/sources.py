"""Where rows come from: the Hub, a file, or the emoji packages.

A source is a small dictionary that can stand in a step's config. A file stands in it by the
SHA-256 of what it holds; where it lies is no part of what a step is.

    {"hub": "Davlan/sib200", "name": "swh_Latn", "split": "test", "options": {}}
    {"file": "<sha256>", "format": "tsv", "columns": ["question", "answer"], "part": [0, 150]}
    {"builtin": "emoji", "language": "fa", "split": "dev", "versions": {"emoji": "2.16.0"}}
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adamergex.checkpoint import commit
from adamergex.errors import InputError
from adamergex.plain import check_downloaded, parsed_json
from adamergex.step import digest
from adamergex.tasks.tables import QUOTINGS, quoting_of

__all__ = [
    "FORMATS",
    "Files",
    "Row",
    "Source",
    "file_source",
    "hub_source",
    "rows",
    "sliced",
    "taken",
]

Row = dict[str, Any]
Source = dict[str, Any]
Files = Mapping[str, Path]

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt")
_LARGEST = 2**30
_LARGEST_JSON = 2**28
"""Bytes of a file, all of which is read into memory; JSON may be twenty times as large there."""
_MOST_ROWS, _MOST_CELLS = 10**7, 5 * 10**7
"""A row is a dictionary: a quarter of a kilobyte before anything is in it."""
_LONGEST_LINE = 2**24
"""Bytes of a line of text, or of a row in csv, tsv or jsonl: a long book has a tenth of them."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = re.compile(r"(?P<name>.+?)\[(?P<start>\d*):(?P<stop>\d*)\]")


def file_source(
    path: str, folder: Path, columns: Sequence[str] | None = None
) -> tuple[Source, Path]:
    """The source that a file is, and where it lies.

    Args:
        path: A csv, tsv, json, jsonl, parquet or txt file, relative to `folder`. `[a:b]` after the
            name takes rows a to b, without b: several splits can so be cut from one file.
        folder: What relative paths start from.
        columns: Names of the columns of a csv or tsv file that has no header line.

    Raises:
        InputError: No such file, or of another format.
    """
    name, part = sliced(path)
    where = (folder / name).resolve()
    kind = where.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise InputError(where, "file name", found=where.suffix, needed=" or ".join(FORMATS))
    if not where.is_file():
        raise InputError(where, found="no such file", needed="a data file")
    source: Source = {"file": digest(where), "format": kind}
    if kind == "tsv":
        _check_size(where, kind)
        try:
            quoting = quoting_of(where)
        except (UnicodeError, csv.Error, OSError) as error:
            raise InputError(where, found=str(error), needed="tsv that can be read") from None
        if quoting:
            source["quoting"] = quoting
    if columns:
        source["columns"] = list(columns)
    if part:
        source["part"] = part
    return source, where


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
    return {"hub": path, "name": name, "split": split, "options": {**options, **now}}


def rows(source: Source, files: Files) -> list[Row]:
    """The rows of a source.

    Args:
        source: See above.
        files: SHA-256 -> where that file lies.

    Raises:
        InputError: A file that has changed since the plan was made, or cannot be read.
    """
    if "builtin" in source:
        from adamergex.tasks import emoji

        return emoji.rows(source["language"], source["split"])
    if "hub" in source:
        return _hub_rows(source)
    path = files[source["file"]]
    if digest(path) != source["file"]:
        raise InputError(path, found="another content than when the run was planned", needed="it")
    _check_whole(path, source["format"])
    _check_size(path, source["format"])
    found = _file_rows(path, source["format"], source.get("columns"), source.get("quoting"))
    start, stop = source.get("part") or (None, None)
    return found[start:stop]


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
    return [dict(row) for row in data]


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
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE:
                found, needed = f"more than {_LONGEST_LINE} bytes", f"at most {_LONGEST_LINE}"
                raise InputError(path, f"line {rows + 1}", found=found, needed=needed)
            rows += 1
            cells += 1 + line.count({"csv": b",", "tsv": b"\t"}.get(kind, b"\n"))
    return rows, cells


def _file_rows(path: Path, kind: str, columns: list[str] | None, quoting: str | None) -> list[Row]:
    try:
        if kind in ("txt", "jsonl"):
            # Not splitlines(): there are line breaks of Unicode's that are part of a line.
            content = path.read_text(encoding="utf-8")
            lines = content.removesuffix("\n").split("\n") if content else []
            if kind == "txt":
                return [{"text": line} for line in lines]
            numbered = [(i, line) for i, line in enumerate(lines, start=1) if line.strip()]
            return _objects([parsed_json(line, path, f"line {i}") for i, line in numbered], path)
        if kind == "json":
            return _json_rows(parsed_json(path.read_text(encoding="utf-8"), path), path)
        return _table(path, kind, columns, quoting).to_dict("records")
    except (ValueError, OverflowError, RuntimeError, OSError) as error:  # Arrow has all of them
        raise InputError(path, found=str(error), needed=f"{kind} that can be read") from None


def _table(path: Path, kind: str, columns: list[str] | None, quoting: str | None) -> Any:
    import pandas

    if kind == "parquet":
        return pandas.read_parquet(path)
    tabs: dict[str, Any] = {}
    if kind == "tsv":
        tabs = {"sep": "\t", "quoting": QUOTINGS[quoting or "none"]}
    header: dict[str, Any] = {"names": columns, "header": None} if columns else {}
    # "None", "NA" and "null" are words.
    options = {"keep_default_na": False, "encoding": "utf-8", **tabs, **header}
    table = pandas.read_csv(path, **options)
    # So are "True" and "False": a label is not the number of a choice.
    words = {name: str for name, kind in table.dtypes.items() if kind.kind == "b"}
    if words:
        table = pandas.read_csv(path, dtype=words, **options)
    if not isinstance(table.index, pandas.RangeIndex):  # pandas took the surplus for an index
        raise ValueError(f"rows with more fields than the {len(table.columns)} columns")
    return table


def _json_rows(content: Any, path: Path) -> list[Row]:
    """A list of rows as it is; SQuAD's articles of paragraphs as one row a question."""
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
        if content and isinstance(content[0], dict) and "paragraphs" in content[0]:
            try:
                return [row for article in content for row in _questions(article)]
            except (LookupError, TypeError, AttributeError) as error:
                raise ValueError(f"{type(error).__name__}: {error}") from None
    return _objects(content, path)


def _objects(content: Any, path: Path) -> list[Row]:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(path, found=type(content).__name__, needed="a list of objects, or SQuAD's")
    return content


def _questions(article: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "id": question["id"],
            "title": article.get("title", ""),
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {
                "text": [answer["text"] for answer in question["answers"]],
                "answer_start": [answer["answer_start"] for answer in question["answers"]],
            },
        }
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
