"""What a file says is what reaches the model: every kind of file, of cell, of template."""

import csv
import json
import os
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import datasets
import pandas
import pyarrow
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from adamergex.errors import InputError
from adamergex.tasks import Questions, file_source
from adamergex.tasks.sources import rows
from tests.tasks.test_harness import CHOICE, FREE

TABLES = ("csv", "tsv")
MARKS = {
    "utf-8": b"", "utf-8-sig": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff",
}  # fmt: skip
WORDS = [
    "020", "2.50", "5", "1E5", "12345678901234567890123", "NA", "null", "None", "nan", "inf",
    "1_000", "2024-01-01", "True", "false", "", " x ", '["a", "b"]', "[]", "{}", "(1, 2)",
    'said "x"', '"all"', '""', "a\tb", "a,b", "a;b", "a\nb", "a\r\nb", "\u2028", "é",
]  # fmt: skip
TEXT = st.sampled_from(WORDS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
CELL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just("half \ud83d"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def read(folder, name, *, faulty=False, **options):
    source, where = file_source(name, folder, **options)
    return rows(source, {source["file"]: where}, faulty=faulty)


def write_table(
    path, records, *, separator=",", quoting=csv.QUOTE_MINIMAL, ends="\n", code="utf-8"
):
    with path.open("w", encoding=code, newline="") as file:
        csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=ends).writerows(
            records
        )
    path.write_bytes(MARKS[code] + path.read_bytes())


@given(
    st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=4),
    st.sampled_from([("csv", ","), ("csv", ";"), ("tsv", "\t")]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(sorted(MARKS)),
)
def test_a_table_is_read_as_it_was_written(folder, cells, kind, quoting, ends, code):
    """Every cell is text; told that marks are csv's always, and by itself, or it asks."""
    path, separator = folder / f"a.{kind[0]}", kind[1]
    records = [["a", "b"], *cells]
    write_table(path, records, separator=separator, quoting=quoting, ends=ends, code=code)
    wanted = [{"a": one, "b": two} for one, two in cells]
    assert read(folder, path.name, quoting="csv") == wanted
    try:
        assert read(folder, path.name) == wanted
    except InputError as error:
        assert kind[0] == "tsv"
        assert "quoting: csv" in str(error)


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_table_without_quoting_is_read_as_it_was_written(folder, cells):
    assume(not any(mark in cell for row in cells for cell in row for mark in "\t\n\r"))
    lines = ["a\tb", *("\t".join(row) for row in cells)]
    (folder / "a.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    wanted = [{"a": one, "b": two} for one, two in cells]
    assert read(folder, "a.tsv", quoting="none") == wanted
    all_in_marks = any(cell[:1] == cell[-1:] == '"' for row in cells for cell in row)
    assume(not all_in_marks)  # csv's, for all that the file tells
    assert read(folder, "a.tsv") == wanted


@pytest.mark.parametrize(
    ("content", "quoting"),
    [
        ('a\tb\n"She said ""no""."\tx\n', "csv"),
        ('a\tb\n"All of it."\tx\n', "csv"),
        ('"a"\t"b"\n"one"\t"two"\n', "csv"),
        ('a\tb\n"a tab\there"\tx\ny\tz\n', "csv"),
        ('a\tb\n"two\nlines"\tx\ny\tz\n', "csv"),
        ('a\tb\n"We won," she said.\tx\n', "none"),
        ('a\tb\n"Open only\tx\n', "none"),
        ('a\tb\n"All of it."\tx\nHe said "no".\tz\n', "none"),  # no csv writer leaves that bare
        ('a\tb\n5" pipe\tx\n', None),
        ("a\tb\nplain\tx\n", None),
    ],
)
def test_what_quotation_marks_in_tsv_mean(tmp_path, content, quoting):
    (tmp_path / "a.tsv").write_text(content)
    assert file_source("a.tsv", tmp_path)[0].get("quoting") == quoting
    marks = csv.QUOTE_MINIMAL if quoting == "csv" else csv.QUOTE_NONE
    wanted = pandas.read_csv(
        tmp_path / "a.tsv", sep="\t", quoting=marks, dtype=str, keep_default_na=False
    )
    assert read(tmp_path, "a.tsv") == wanted.to_dict("records")


@pytest.mark.parametrize("content", ['a\n"two\nlines"\n', 'a\tb\n"one\tx\nthe other"\ty\n'])
def test_where_a_file_does_not_tell_it_asks(tmp_path, content):
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(InputError, match=r"a\.tsv: .*may be csv's.*needed quoting: csv, or quot"):
        read(tmp_path, "a.tsv")
    assert len(read(tmp_path, "a.tsv", quoting="csv")) == 1
    assert len(read(tmp_path, "a.tsv", quoting="none")) == 2


def test_public_tables_as_their_authors_read_them():
    """SIB-200's own code reads its files by pandas, csv quoting and all."""
    place = os.environ.get("ADAMERGEX_DATA")
    if place is None:
        pytest.skip("ADAMERGEX_DATA names no folder with sib200")
    files = sorted(Path(place).glob("sib200/*/*.tsv"))
    assert files
    for file in files[::7]:
        wanted = pandas.read_csv(file, sep="\t")
        found = read(file.parent, file.name)
        assert [row["text"] for row in found] == list(wanted["text"])
        assert [row["category"] for row in found] == list(wanted["category"])


# Rows that are none, and lines that are empty.


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(("row", "n"), [("lost", 1), ("one,two,three", 3), ("one,two,", 3)])
def test_a_row_of_other_fields_is_named(tmp_path, kind, row, n):
    separator = {"csv": ",", "tsv": "\t"}[kind]
    text = f"a,b\nx,y\n\n{row}\nz,w\n".replace(",", separator)
    (tmp_path / f"a.{kind}").write_text(text)
    told = f"a.{kind}: row 1: found {n} field{'s' * (n > 1)} (line 4); needed 2, one a column"
    with pytest.raises(InputError) as raised:
        read(tmp_path, f"a.{kind}")
    assert told in str(raised.value)
    assert read(tmp_path, f"a.{kind}[:1]") == [{"a": "x", "b": "y"}]  # that one is not in it
    kept = read(tmp_path, f"a.{kind}", faulty=True)
    assert [row.fault is None for row in kept] == [True, False, True]


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_bad_rows_are_refused_or_skipped(tmp_path, kind):
    cells = [
        {"text": "one", "label": "a"},
        {"text": "two", "label": None},
        {"text": "six", "label": "b"},
    ]
    if kind in TABLES:
        path = tmp_path / f"a.{kind}"
        write_table(path, [["text", "label"], ["one", "a"], ["two"], ["six", "b"]],
                    separator="," if kind == "csv" else "\t")  # fmt: skip
    elif kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(cells), tmp_path / "a.parquet")
    else:
        lines = [json.dumps(row) for row in cells]
        text = "\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]"
        (tmp_path / f"a.{kind}").write_text(text)
    config = {**CHOICE, "doc_to_choice": ["a", "b"]}
    with pytest.raises(InputError, match=rf"a\.{kind}: row 1"):
        Questions(config, read(tmp_path, f"a.{kind}"))
    asked = Questions(config, read(tmp_path, f"a.{kind}", faulty=True), skip=True)
    assert [item.prompt for item in asked.items] == ["one =", "six ="]
    assert [item.id for item in asked.items] == ["0", "2"]
    (notice,) = asked.left_out
    assert notice.startswith("t: 1 rows left out, the first: ")
    with pytest.raises(InputError, match=r"rows: found none that fits, the first is .*row 1"):
        Questions(config, read(tmp_path, f"a.{kind}[1:2]", faulty=True), skip=True)


def test_empty_lines_are_no_rows_but_of_one_column(tmp_path):
    text = "\n{0}\n\n{1}\n \n{1}\n\n"
    (tmp_path / "a.csv").write_text(text.format("a,b", "x,y"))
    (tmp_path / "a.tsv").write_text(text.format("a\tb", "x\ty"))
    (tmp_path / "a.jsonl").write_text(text.format('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}'))
    assert read(tmp_path, "a.csv") == read(tmp_path, "a.tsv") == [{"a": "x", "b": "y"}] * 2
    assert read(tmp_path, "a.csv[1:]")[0].line == 6
    assert len(read(tmp_path, "a.jsonl")) == 3
    (tmp_path / "one.csv").write_text("text\nA\n\nC\n")
    (tmp_path / "one.txt").write_text("A\n\nC\n")
    assert read(tmp_path, "one.csv") == read(tmp_path, "one.txt")
    assert [row["text"] for row in read(tmp_path, "one.csv[1:3]")] == ["", "C"]


@pytest.mark.parametrize("code", sorted(MARKS))
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "txt"])
def test_files_as_windows_and_macs_wrote_them(tmp_path, kind, ends, code):
    lines = {
        "csv": ["text,n", "né,1", "ho,2"],
        "tsv": ["text\tn", "né\t1", "ho\t2"],
        "jsonl": ['{"text": "né"}', '{"text": "ho"}'],
        "json": ["[", '{"text": "né"},', '{"text": "ho"}', "]"],
        "txt": ["né", "ho"],
    }[kind]
    content = "".join(line + ends for line in lines)
    path = tmp_path / f"A.{kind.upper()}"
    path.write_bytes(MARKS[code] + content.encode(code))
    assert [row["text"] for row in read(tmp_path, path.name)] == ["né", "ho"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "txt"])
@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        ("cp1252", "text\ncafé\n", "line 2: invalid"),
        ("utf-16-le", "text\ncafe\n", "line 1: a character of value 0"),
    ],
)
def test_another_encoding_is_named_with_the_line(tmp_path, kind, code, text, says):
    (tmp_path / f"a.{kind}").write_bytes(text.encode(code))
    with pytest.raises(InputError, match=rf"a\.{kind}: found {says}.*UTF-8"):
        read(tmp_path, f"a.{kind}")


def test_headers(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,,\nx,1,,\n")
    assert read(tmp_path, "a.csv") == [{"text": "x", "label": "1"}]
    for content, says in [
        ("", "header: found nothing"),
        ("a,b,a\n1,2,3\n", "header: found a twice"),
    ]:
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(InputError, match=f"{says}; needed the names of the columns"):
            read(tmp_path, "a.csv")
    (tmp_path / "a.csv").write_text("text,label\nx,1\n")
    with pytest.raises(InputError, match="line 1: found the header line; needed no columns"):
        read(tmp_path, "a.csv", columns=["text", "label"])


def test_json_by_the_name_of_json_lines_and_the_other_way(tmp_path):
    found = [{"text": "x", "options": ["a"]}, {"words": "y"}]
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in found))
    (tmp_path / "list.jsonl").write_text(json.dumps(found, indent=1))
    (tmp_path / "one.json").write_text(json.dumps(found[0]))
    assert read(tmp_path, "lines.json") == read(tmp_path, "list.jsonl") == found
    assert read(tmp_path, "one.json") == found[:1]
    (tmp_path / "columns.json").write_text('{"text": ["x"], "label": [1]}')
    with pytest.raises(InputError, match="found a mapping of text, label; needed a list of obj"):
        read(tmp_path, "columns.json")


def test_numbers_of_json_are_what_is_written(tmp_path):
    texts = [
        "5",
        "2.50",
        "1E5",
        "1e-7",
        "-0",
        "12345678901234567890123",
        "1E400",
        "0.1",
        "9" * 5000,
    ]
    (tmp_path / "a.json").write_text(f'[{{"n": [{", ".join(texts)}]}}]')
    assert list(map(str, read(tmp_path, "a.json")[0]["n"])) == texts
    assert read(tmp_path, "a.json")[0]["n"][1] * 2 == 5


def test_arrow_has_types_of_its_own(tmp_path):
    columns = {
        "float32": pyarrow.array([0.1, None], pyarrow.float32()),
        "decimal": pyarrow.array([Decimal("2.50"), None]),
        "whole": pyarrow.array([7, None]),
        "truth": pyarrow.array([True, None]),
        "day": pyarrow.array([date(2024, 1, 2), None]),
        "moment": pyarrow.array([datetime(2024, 1, 2, 3, 4), None]),
        "gap": pyarrow.array([float("nan"), None], from_pandas=False),
        "answers": pyarrow.array([{"text": ["a", "b"], "answer_start": [1, 2]}, None]),
        "kind": pyarrow.array(["x", None]).dictionary_encode(),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    one, two = read(tmp_path, "a.parquet")
    assert {name: str(value) for name, value in one.items()} == {
        "float32": "0.1", "decimal": "2.50", "whole": "7", "truth": "True", "day": "2024-01-02",
        "moment": "2024-01-02 03:04:00", "gap": "None", "kind": "x",
        "answers": "{'text': ['a', 'b'], 'answer_start': [1, 2]}",
    }  # fmt: skip
    assert set(two.values()) == {None}


def test_rows_of_the_hub_are_read_as_files_are(monkeypatch):
    """Its lists, its truths, its numbers of 32 bits and its dates."""
    kinds = datasets.Features(
        {
            "n": datasets.Value("float32"),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "so": datasets.Value("bool"),
            "day": datasets.Value("timestamp[s]"),
            "answers": {"text": datasets.List(datasets.Value("string"))},
        }
    )
    cells = {"n": [0.1], "label": [1], "so": [True], "day": [datetime(2024, 1, 2)],
             "answers": [{"text": ["x"]}]}  # fmt: skip
    data = datasets.Dataset.from_dict(cells, kinds)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: data)
    source = {"hub": "org/data", "name": None, "split": "test", "options": {}}
    (row,) = rows(source, {})
    assert row == {"n": 0.1, "label": 1, "so": True, "day": "2024-01-02 00:00:00",
                   "answers": {"text": ["x"]}}  # fmt: skip
    with pytest.raises(InputError, match="org/data test: row 0, answers: found a mapping"):
        Questions({**FREE, "doc_to_text": "{{n}}", "doc_to_target": "answers"}, [row])


def test_what_no_template_uses_is_not_checked(tmp_path):
    columns = {
        "text": ["x"], "label": [1],
        "far": pyarrow.array([10**12], pyarrow.timestamp("s")),  # in a year that Python has not
        "bytes": [b"\xff"], "null": [None], "deep": [[{"a": [1.5]}]],
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = read(tmp_path, "a.parquet")
    assert Questions(CHOICE, found).items[0].gold == 1
    for column in ("far", "bytes", "null"):
        for template in (column, f"{{{{{column}}}}}"):
            with pytest.raises(InputError, match=rf"a\.parquet: row 0, {column}: found"):
                Questions({**CHOICE, "doc_to_text": template}, found)


# Any table, any cell, any file, any task: rows as written, or one line that names the row.


def as_written(value):
    if isinstance(value, bool):
        return json.dumps(value)
    if value is None or value != value:
        return None
    if any("\ud800" <= letter <= "\udfff" for letter in str(value)):
        return None  # half a letter; in a list it stands escaped
    if value in (float("inf"), float("-inf")):
        return json.dumps(value)
    return str(value)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["text", "answer", "spare", "self"]), CELL),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["jsonl", "json", "parquet"]),
    st.sampled_from(["text", "{{text}}:"]),
    st.sampled_from(["answer", "{{answer}}"]),
)
def test_any_cell_reaches_the_model_as_it_is_written_or_is_named(folder, cells, kind, text, answer):
    path = folder / f"a.{kind}"
    if kind == "parquet":
        try:
            parquet.write_table(pyarrow.Table.from_pylist(cells), path)
        except (pyarrow.ArrowException, UnicodeError, OverflowError, TypeError, ValueError):
            assume(False)  # Arrow has no such table
    else:
        lines = [json.dumps(row) for row in cells]
        path.write_text("\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]")
    config = {**FREE, "doc_to_text": text, "doc_to_target": answer}
    found = []
    try:
        found = read(folder, path.name)
        made = Questions(config, found).examples()
    except InputError as error:
        told = str(error)
        assert "\n" not in told
        known = {name for row in found for name in row}
        named = [f"{path.name}: row {i}" for i, row in enumerate(cells) if not _fine(row)]
        columns_lack = {"text", "answer"} - known
        assert any(name in told for name in named) or columns_lack, told
        return
    for row, example in zip(found, made, strict=True):
        assert example.prompt == as_written(row["text"]) + ("" if text == "text" else ":")
        value = row["answer"]
        several = isinstance(value, list) and answer == "answer"
        assert example.completion == " " + as_written(value[0] if several else value)
        if kind != "parquet" and not isinstance(value, float | list | dict):
            assert example.completion == " " + as_written(cells[found.index(row)]["answer"])


def _fine(row):
    """Whether a row has a text and an answer that are text."""
    text, answer = row.get("text"), row.get("answer")
    usual = isinstance(answer, str | bool | int | float) and str(answer).strip()
    return as_written(text) is not None and as_written(answer) is not None and bool(usual)
