"""Rows of files in JSON, in parquet and in plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import InputError
from adamergex.plain import decoded, parsed_json
from adamergex.tasks.row import SKIP, Row, Unreadable, cell, number
from adamergex.tasks.tables import lines_of

__all__ = ["json_rows", "parquet_rows", "text_in", "text_rows"]


def text_in(path: Path, kind: str) -> str:
    """What a file of text holds.

    Raises:
        InputError: It is not UTF-8, and no byte order mark says what it is.
    """
    try:
        text = decoded(path.read_bytes(), path, f"{kind} that can be read")
    except OSError as error:
        raise InputError(path, found=str(error), needed=f"{kind} that can be read") from None
    if "\0" in text:
        found = f"line {text.count(chr(10), 0, text.index(chr(0))) + 1}: a character of value 0"
        raise InputError(path, found=found, needed=f"{kind} that can be read, in UTF-8")
    return text


def text_rows(text: str, path: Path) -> list[Row]:
    """A row for each line of a plain text, an empty one among them."""
    return [
        Row({"text": line}, path, i, line=i + 1, typed=False)
        for i, line in enumerate(lines_of(text))
    ]


def parquet_rows(path: Path) -> list[Row]:
    """The rows of a parquet file.

    Raises:
        InputError: It cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        # Rows are what is wanted: pandas would make floats of whole numbers beside a null.
        found = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(path, found=str(error), needed="parquet that can be read") from None
    names = [str(name) for name in found.column_names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(path, "columns", found=f"{twice[0]} twice", needed="each name once")
    columns = [_arrow_cells(column) for column in found.columns]
    if not columns:
        return [Row({}, path, i) for i in range(found.num_rows)]
    return [
        Row(dict(zip(names, values, strict=True)), path, i)
        for i, values in enumerate(zip(*columns, strict=True))
    ]


def _arrow_cells(column: Any) -> list[Any]:
    from pyarrow import types

    of_fewer_bits = types.is_float32(column.type) or types.is_float16(column.type)
    kind = {"float": "float32", "halffloat": "float16"}[str(column.type)] if of_fewer_bits else ""
    try:
        return [cell(value, kind) for value in column.to_pylist()]
    except Exception:  # a date in the year 20000, text that is not UTF-8: only of some, perhaps
        return [_arrow_cell(value) for value in column]


def _arrow_cell(value: Any) -> Any:
    try:
        return cell(value.as_py())
    except Exception as error:
        return Unreadable(f"what Python cannot read ({error})")


def _json_lines(text: str, path: Path) -> list[Row]:
    made: list[Row] = []
    gap = False
    for i, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            gap = True
            continue
        cells, fault = {}, None
        try:
            cells = _object(
                parsed_json(line, path, f"line {i}", number=_json_number), path, len(made)
            )
        except InputError as error:
            needed = f"{error.needed}, {SKIP}"
            fault = InputError(*error.subject, found=error.found, needed=needed)
        made.append(Row(cells, path, len(made), line=i, gap=gap and bool(made), fault=fault))
        gap = False
    return made


def json_rows(text: str, path: Path, kind: str) -> list[Row]:
    """The rows of JSON or of JSON lines, each by the other's name, too.

    A list of rows as it is; SQuAD's articles of paragraphs as one row a question.
    """
    if kind == "jsonl" and not text.lstrip().startswith("["):
        return _json_lines(text, path)
    try:
        content = parsed_json(text, path, number=_json_number)
    except InputError:
        lines = _json_lines(text, path)
        if len(lines) > 1 and lines[0].fault is None:  # JSON lines, by another name
            return lines
        raise
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
        if content and isinstance(content[0], dict) and "paragraphs" in content[0]:
            content = list(_questions(content, path))
    elif isinstance(content, dict) and not all(
        isinstance(v, list | dict) for v in content.values()
    ):
        content = [content]  # JSON lines of one line
    if not isinstance(content, list):
        found = f"a mapping of {', '.join(content)}" if isinstance(content, dict) else content
        raise InputError(path, found=found, needed="a list of objects, or SQuAD's")
    return [Row(_object(row, path, i), path, i) for i, row in enumerate(content)]


def _json_number(text: str) -> Any:
    """A number as it is written. NaN, which pandas and Python write for a missing one, is null."""
    return None if text == "NaN" else number(text)


def _object(value: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        needed = "a list of objects, or SQuAD's" if path.suffix == ".json" else "an object"
        raise InputError(path, f"row {number}", found=value, needed=needed)
    return value


def _questions(articles: Any, path: Path) -> Iterator[dict[str, Any]]:
    for i, article in enumerate(articles):
        try:
            yield from _of_article(article)
        except (LookupError, TypeError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
            needed = "SQuAD's: paragraphs of context and qas, with id, question and answers"
            raise InputError(path, f"data[{i}]", found=found, needed=needed) from None


def _of_article(article: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            answers = question["answers"]
            yield {
                "id": question["id"],
                "title": article.get("title", ""),
                "context": paragraph["context"],
                "question": question["question"],
                "answers": {
                    "text": [answer["text"] for answer in answers],
                    "answer_start": [answer["answer_start"] for answer in answers],
                },
            }
