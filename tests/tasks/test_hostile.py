"""Task files and data made to do harm: no code, no memory without end, no file elsewhere."""

import contextlib
import json
import os

import pandas
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.tasks import Questions, file_source, find_task, sources, task_source
from adamergex.tasks.export import write_task
from adamergex.tasks.sources import rows
from adamergex.tasks.text import lines
from tests.support.hostile import watched
from tests.tasks.test_sandbox import ROWS, TASK


def refused(**changes):
    with pytest.raises(InputError) as caught:
        Questions({**TASK, **changes}, ROWS)
    return str(caught.value)


@pytest.mark.parametrize(
    "entry", [{"metric": "SCRIPT"}, {"metric": "exact_match", "hf_evaluate": True}, "x", 3]
)
def test_a_metric_that_would_be_looked_for_and_run(tmp_path, entry):
    script, ran = tmp_path / "metric.py", tmp_path / "ran"
    script.write_text(f"open({str(ran)!r}, 'w')")
    if isinstance(entry, dict):
        entry = {k: str(script) if v == "SCRIPT" else v for k, v in entry.items()}
    for measured in ({}, {"process_results": None}):
        assert "metric_list: found" in refused(metric_list=[entry], **measured)
    assert not ran.exists()


@pytest.mark.parametrize("key", ["trust_remote_code", "cache_dir", "data_files", "storage_options"])
def test_a_data_set_is_loaded_with_no_option_but_a_revision(key):
    config = {**TASK, "dataset_path": "org/data", "dataset_kwargs": {key: True}}
    with pytest.raises(InputError, match="dataset_kwargs"):
        task_source(config, "test")


@pytest.mark.parametrize("name", ["../out", "/tmp/x", "a/b", "a\x00b", "\x1b[2J", "", "..", "<b>"])
def test_a_task_is_written_into_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="needed only letters, digits"):
        write_task({**TASK, "task": name}, {"test": ROWS}, tmp_path / "in")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b.yaml", "<b>.yaml", "\x1b[2J.yaml", "....yaml"])
def test_a_task_file_has_a_name_that_a_folder_can_have(tmp_path, name):
    (tmp_path / name).write_text(yaml.safe_dump(TASK))
    with pytest.raises(InputError, match="needed only letters, digits"):
        find_task(name, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["a: &a [1]\nb: *a", "a: {b: 1, b: 2}", "a: " + "[" * 1000, "x" * (2**17 + 1), "a: .inf",
     'task: "\x1b[2J"', "a: !!python/object/apply:os.system ['touch ran']", "a: !function utils.f"],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_a_task_file_is_plain_data(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError, match=r"t\.yaml"):
        find_task("t.yaml", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.yaml"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
KEYS = ["task", "output_type", "doc_to_text", "doc_to_target", "doc_to_choice", "metric_list",
        "metadata", "generation_kwargs", "dataset_kwargs", "filter_list"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("task")


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2))
def test_a_task_with_anything_in_its_keys_asks_or_is_refused(folder, changes):
    (folder / "t.yaml").write_text(yaml.safe_dump({**TASK, **changes}))
    try:
        asked = Questions(find_task("t.yaml", folder).in_language("en"), ROWS)
        asked.measured([["y"] * max(1, len(item.choices)) for item in asked.items])
    except InputError:
        pass


def read(folder, name):
    source, where = file_source(name, folder)
    return rows(source, {source["file"]: where})


@given(st.binary(max_size=80), st.sampled_from(sources.FORMATS))
def test_any_bytes_as_data_are_rows_or_refused(folder, content, kind):
    (folder / f"a.{kind}").write_bytes(content)
    try:
        found = read(folder, f"a.{kind}")
    except InputError:
        return
    assert all(isinstance(row, dict) for row in found)


SQUAD = {
    "data": [
        {"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q", "answers": []}]}]}
    ]
}


@given(
    st.sampled_from(["data", "paragraphs", "context", "qas", "id", "question", "answers"]), VALUES
)
def test_an_odd_squad_file_is_rows_or_refused(folder, key, value):
    def changed(part):
        if isinstance(part, list):
            return [changed(inner) for inner in part]
        if isinstance(part, dict):
            return {k: value if k == key else changed(v) for k, v in part.items()}
        return part

    (folder / "q.json").write_text(json.dumps(changed(SQUAD)))
    with contextlib.suppress(InputError):
        read(folder, "q.json")


READ = """
import sys
from pathlib import Path
from adamergex.errors import InputError
from tests.tasks.test_hostile import read
path = Path(sys.argv[1])
try:
    read(path.parent, path.name)
except InputError as error:
    print(error)
"""
START = {"csv": b'text,label\n"', "jsonl": b'{"text": "', "txt": b"", "tsv": b"text\n"}


@pytest.mark.parametrize("kind", START)
def test_a_field_of_a_billion_characters(tmp_path, kind):
    """The file is one great hole, so that it takes no room on disk."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(START[kind])
    os.truncate(path, 10**9)
    said, peak = watched(READ, path, seconds=300)
    assert "found more than 16777216 bytes" in said
    assert peak < 1024


@pytest.mark.parametrize("kind", sources.FORMATS)
def test_a_file_larger_than_memory(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "_LARGEST", 5)
    monkeypatch.setattr(sources, "_LARGEST_JSON", 5)
    (tmp_path / f"a.{kind}").write_bytes(b"123456")
    with pytest.raises(InputError, match="found 6 bytes; needed at most 5"):
        read(tmp_path, f"a.{kind}")


@pytest.mark.parametrize(
    ("limit", "says"), [("_MOST_ROWS", "11 rows"), ("_MOST_CELLS", "22 cells")]
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_more_rows_than_memory_has_room_for(tmp_path, monkeypatch, limit, says, kind):
    monkeypatch.setattr(sources, limit, 9)
    table, path = pandas.DataFrame({"a": [1] * 11, "b": [2] * 11}), tmp_path / f"a.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        path.write_text(table.to_csv(index=False, header=False, sep="\t" if kind == "tsv" else ","))
    with pytest.raises(InputError, match=f"found {says}; needed at most 9"):
        read(tmp_path, path.name)


@pytest.mark.parametrize("depth", [33, 900, 100_000])
@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_data_of_brackets_in_brackets(tmp_path, kind, depth):
    text = f'{{"a": {"[" * depth}{"]" * depth}}}'
    (tmp_path / f"a.{kind}").write_text(f"[{text}]" if kind == "json" else text)
    with pytest.raises(InputError, match=rf"a\.{kind}"):
        read(tmp_path, f"a.{kind}")


def test_a_column_of_lists_is_no_text(tmp_path):
    pandas.DataFrame({"text": [["a", "b"], ["c", "d"]]}).to_parquet(tmp_path / "a.parquet")
    source, where = file_source("a.parquet", tmp_path)
    found = lines(
        {"source": source, "column": "text", "max_samples": None}, {source["file"]: where}
    )
    assert len(found) == 2


@pytest.mark.parametrize("value", [2**70, [1, "a"], {"a": {}}, b"x", object()])
def test_rows_that_no_table_can_hold(value):
    try:
        Questions(TASK, [{**ROWS[0], "z": value}, {**ROWS[0], "z": 1}])
    except InputError as error:
        assert "row 0" in str(error)
