"""Rows from files: every format, the same identity wherever a file lies."""

import csv
import json

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks.sources import file_source, rows, taken

ROWS = [
    {"text": 'said "yes", and left', "label": "a"},
    {"text": "None", "label": "NA"},
    {"text": "ไทย", "label": "null"},
]


def written(folder, kind, content=ROWS):
    path = folder / f"data.{kind}"
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, ["text", "label"])
            table.writeheader()
            table.writerows(content)
    elif kind == "tsv":
        lines = ["text\tlabel", *(f"{row['text']}\t{row['label']}" for row in content)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        lines = (json.dumps(row, ensure_ascii=False) for row in content)
        path.write_text("\n\n".join(lines), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        pandas.DataFrame(content).to_parquet(path)
    return path


def read(path, folder, **options):
    source, where = file_source(path, folder, **options)
    return rows(source, {source["file"]: where})


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, kind):
    """Quotation marks in tsv are characters, and "None", "NA" and "null" are words."""
    written(tmp_path, kind)
    assert read(f"data.{kind}", tmp_path) == ROWS


def test_plain_text_is_a_row_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\nthree", encoding="utf-8")
    assert read("a.txt", tmp_path) == [{"text": "one"}, {"text": ""}, {"text": "three"}]


def test_columns_without_a_header(tmp_path):
    (tmp_path / "a.tsv").write_text('q "1"\t18\nq2\t3\n', encoding="utf-8")
    found = read("a.tsv", tmp_path, columns=["question", "answer"])
    assert found == [{"question": 'q "1"', "answer": "18"}, {"question": "q2", "answer": "3"}]


PARTS = {"[:2]": ROWS[:2], "[1:]": ROWS[1:], "[1:2]": ROWS[1:2]}


@pytest.mark.parametrize(("part", "wanted"), PARTS.items())
def test_parts_of_a_file(tmp_path, part, wanted):
    written(tmp_path, "jsonl")
    assert read(f"data.jsonl{part}", tmp_path) == wanted


def test_squad_is_a_row_a_question(tmp_path):
    answers = [{"text": "x", "answer_start": 3}, {"text": "y", "answer_start": 5}]
    content = {
        "version": "1.1",
        "data": [
            {
                "title": "T",
                "paragraphs": [
                    {"context": "c1", "qas": [{"id": "1", "question": "q1", "answers": answers}]},
                    {"context": "c2", "qas": [
                        {"id": "2", "question": "q2", "answers": answers[:1]},
                        {"id": "3", "question": "q3", "answers": answers[1:]},
                    ]},
                ],
            }
        ],
    }  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps(content))
    found = read("q.json", tmp_path)
    assert [(row["id"], row["context"], row["question"]) for row in found] == [
        ("1", "c1", "q1"), ("2", "c2", "q2"), ("3", "c2", "q3"),
    ]  # fmt: skip
    assert found[0]["answers"] == {"text": ["x", "y"], "answer_start": [3, 5]}


def test_the_same_content_is_the_same_source_wherever_it_lies(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    one = file_source(str(written(tmp_path, "csv")), tmp_path)
    two = file_source(str(written(tmp_path / "elsewhere", "csv")), tmp_path)
    assert one[0] == two[0]
    assert one[1] != two[1]
    changed = [*ROWS[:2], {"text": "ไทย", "label": "nul"}]
    written(tmp_path, "csv", changed)
    assert file_source("data.csv", tmp_path)[0] != one[0]


def test_a_file_that_changed_since_it_was_planned_is_found(tmp_path):
    path = written(tmp_path, "csv")
    source, where = file_source("data.csv", tmp_path)
    path.write_text("text,label\nx,y\n")
    with pytest.raises(InputError, match="another content"):
        rows(source, {source["file"]: where})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "no such file"),
        ("a.xlsx", "x", r"found \.xlsx; needed csv or tsv"),
        ("a.json", "{", "a.json: .*needed JSON"),
        ("a.json", '"text"', "needed a list of objects"),
        ("a.jsonl", "{}\nx", "a.jsonl: line 2: .*needed JSON"),
        ("a.parquet", "x", "parquet that can be read"),
        ("a.csv", "a,b\n1,2,3,4\n1\n", "csv that can be read"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        read(name, tmp_path)


def test_a_line_ends_where_files_say_and_nowhere_else(tmp_path):
    """Unicode has line breaks of its own, which JSON leaves as they are within a string."""
    odd = "one\u2028two\x85three\x0bfour"
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{odd[:-5]}"}}\n\n{{"text": "x"}}\n', "utf-8")
    (tmp_path / "a.txt").write_text(f"{odd}\n\nlast\n", "utf-8")
    assert [row["text"] for row in read("a.jsonl", tmp_path)] == [odd[:-5], "x"]
    assert [row["text"] for row in read("a.txt", tmp_path)] == [odd, "", "last"]
    (tmp_path / "empty.txt").write_text("")
    assert read("empty.txt", tmp_path) == []


@given(st.integers(0, 200), st.integers(1, 60))
def test_parallel_files_are_sampled_alike_and_in_order(n, most):
    one, two = taken(range(n), most), taken([-i for i in range(n)], most)
    assert two == [-i for i in one]
    assert one == sorted(set(one))
    assert len(one) == min(n, most)
    assert taken(range(n), None) == list(range(n))
