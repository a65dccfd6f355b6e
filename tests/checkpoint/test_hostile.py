"""Adapters made to do harm: an error of ours, soon, in little memory, and nothing is written."""

import json
import os
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from adamergex.merging import merge
from tests.support.folders import (
    LORA,
    config_of,
    edit_config,
    snapshot,
    write_ia3,
    write_lora,
    write_prefix,
)
from tests.support.hostile import WEIGHTS, watched, write_header

CONFIG = "adapter_config.json"
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
OPEN = """
import sys
from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
try:
    open_checkpoint(sys.argv[1])
except InputError as error:
    print(error)
"""


def tried(folder):
    """Reads all of an adapter and plans a merge of it; the message where it is refused."""
    before = snapshot(folder)
    try:
        checkpoint = open_checkpoint(folder)
        for name in checkpoint.tensors:
            checkpoint.read(name)
        checkpoint.config.written()
        merge(task=folder, reference_target=folder, reference_source=folder)
        message = None
    except InputError as error:
        message = str(error)
        assert message.isprintable()
    assert snapshot(folder) == before
    return message


def opened(folder):
    """The message, from a process that is watched: 2 GiB and a minute would be too much."""
    said, peak = watched(OPEN, folder, seconds=60)
    assert peak < 2048
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapter")


@given(st.binary(max_size=400), st.sampled_from([CONFIG, WEIGHTS]))
def test_any_bytes_as_a_file_are_refused(folder, content, name):
    write_lora(folder)
    (folder / name).write_bytes(content)
    assert tried(folder)


@given(
    st.sampled_from([write_lora, write_ia3, write_prefix]),
    st.sampled_from([CONFIG, WEIGHTS]),
    st.lists(st.tuples(st.integers(0, 900), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 900),
)
def test_a_file_with_changed_bytes_is_read_or_refused(folder, write, name, changes, end):
    content = bytearray((write(folder) / name).read_bytes())
    for place, part in changes:
        content[place : place + len(part)] = part
    (folder / name).write_bytes(content[:end] if end > 450 else content)
    tried(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = ["r", "lora_alpha", "bias", "rank_pattern", "alpha_pattern", "modules_to_save",
          "task_type", "target_modules", "peft_type", "auto_mapping", "revision"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), JSON, max_size=3))
def test_a_config_with_any_json_in_its_fields_is_read_or_refused(folder, changes):
    edit_config(write_lora(folder), **changes)
    tried(folder)


ENTRY = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "BOOL", "X", 3]),
    "shape": st.lists(st.sampled_from([0, 1, 2, 8, 2**31, 2**63, -1, 1.5]), max_size=10),
    "data_offsets": st.lists(st.sampled_from([0, 4, 64, 128, 2**40, 2**63, -1]), max_size=3),
})  # fmt: skip
NAMES = st.sampled_from(["q.lora_A.weight", "q.lora_B.weight", "embed_tokens.weight", "../x"])


@given(st.dictionaries(NAMES | st.text(max_size=12), ENTRY, max_size=3), st.integers(0, 200))
def test_any_header_is_read_or_refused(folder, header, size):
    tried(write_header(write_lora(folder), header, bytes(size)))


@pytest.mark.parametrize("length", [0, 1, 33 * 2**20, 100 * 2**20, 2**40, 2**64 - 1])
def test_a_header_that_is_huge_or_lies_about_its_length(tmp_path, length):
    path = write_lora(tmp_path) / WEIGHTS
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    if length == 33 * 2**20:
        os.truncate(path, length + 8)
    assert "a whole safetensors file" in tried(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0, 8], [4, 12]),
        ([0, 8], [0, 8]),
        ([0, 8], [12, 20]),
        ([8, 0], [8, 16]),
        ([0, 99], [99, 9]),
    ],
    ids=["overlap", "the same", "gap", "backwards", "beyond the end"],
)
def test_offsets_that_overlap_or_lie(tmp_path, first, second):
    header = {
        "q.lora_A.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": first},
        "q.lora_B.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": second},
    }
    assert WEIGHTS in tried(write_header(write_lora(tmp_path), header, bytes(20)))


def test_a_tensor_that_stands_twice(tmp_path):
    """Whatever reads the file next may take the other one."""
    folder = write_lora(tmp_path)
    content = (folder / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    name, entry = next((k, v) for k, v in header.items() if k != "__metadata__")
    text = json.dumps(header)[:-1] + f', "{name}": {json.dumps(entry)}}}'
    write_header(folder, text.encode(), content[end:])
    assert f"{name}: found the field twice" in tried(folder)


@pytest.mark.parametrize("shape", [[2, 0, 2**62], [0, 8], [1] * 100], ids=str)
def test_a_shape_that_no_array_can_have(tmp_path, shape):
    size = 4 * int(all(shape))
    header = {"embed_tokens.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    assert "at most 8 axes, none of them empty" in tried(
        write_header(write_lora(tmp_path), header, bytes(size))
    )


@pytest.mark.parametrize("start", ["t", "q.", "embed_tokens."])
def test_a_million_tiny_tensors(tmp_path, start):
    entries = (
        f'"{start}{i}":{{"dtype":"F16","shape":[],"data_offsets":[{2 * i},{2 * i + 2}]}}'
        for i in range(10**6)
    )
    header = f"{{{','.join(entries)}}}".encode()
    write_header(write_lora(tmp_path), header, bytes(2 * 10**6))
    assert "needed a whole safetensors file, its header at most" in opened(tmp_path)


def test_as_many_tensors_as_a_header_holds(tmp_path):
    count = 500_000
    entries = (
        f'"{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{i + 1}]}}' for i in range(count)
    )
    header = f"{{{','.join(entries)}}}".encode()
    assert len(header) < 32 * 2**20
    write_header(write_lora(tmp_path), header, bytes(count))
    assert f"found {count} tensors; needed at most 131072" in opened(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/b", "/etc/passwd", "a\x00b", "a\x1b[2Jb", "a\nb", "a\u202eb", "", "a" * 257,
     "a." * 50_000 + "lora_A.weight"],
    ids=lambda name: repr(name[:12]),
)  # fmt: skip
def test_a_tensor_name_that_is_a_path_a_command_or_a_book(tmp_path, name):
    folder = write_header(write_lora(tmp_path), {name: ONE}, bytes(4))
    assert "needed only letters, digits, . _ and -, at most 256 of them" in tried(folder)


@pytest.mark.parametrize("field", ["auto_mapping", "eva_config", "runtime_config"])
def test_harmless_fields_are_never_written_on(tmp_path, field):
    hook = {"base_model_class": "os", "parent_library": "evil", "x": "!python/name:os.system"}
    folder = edit_config(write_lora(tmp_path / "task"), **{field: hook})
    merge(task=folder, reference_target=folder, reference_source=folder).save(tmp_path / "out")
    assert field not in config_of(tmp_path / "out")
    assert "evil" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "field", ["megatron_config", "custom_modules", "trust_remote_code", "auto_map", "_commit_hash"]
)
def test_fields_that_could_name_code_are_refused(tmp_path, field):
    assert field in tried(edit_config(write_lora(tmp_path), **{field: {"AutoModel": "evil.Model"}}))


@pytest.mark.parametrize("depth", [33, 300, 990, 100_000])
@pytest.mark.parametrize("field", ["auto_mapping", "unknown", "r", "rank_pattern"])
def test_a_config_with_brackets_in_brackets(tmp_path, depth, field):
    text = json.dumps(LORA)[:-1] + f', "{field}": {"[" * depth}{"]" * depth}}}'
    (write_lora(tmp_path) / CONFIG).write_text(text)
    message = tried(tmp_path)
    assert "JSON" in message or "at most 32" in message or field in message


@pytest.mark.parametrize(
    "text",
    ["NaN", "-Infinity", "1e999", "9" * 400, "9" * 5000, '"8"', "true", "[]", "{}", "-1e400"],
)
@pytest.mark.parametrize("field", ["r", "lora_alpha"])
def test_a_number_that_is_none_or_huge(tmp_path, field, text):
    whole = json.dumps({**LORA, field: "HERE"}).replace('"HERE"', text)
    (write_lora(tmp_path) / CONFIG).write_text(whole)
    assert tried(tmp_path)


def test_a_key_that_stands_twice_among_many(tmp_path):
    pairs = [f'"{i}":0' for i in range(380_000)]
    text = f"{{{','.join(pairs)},{pairs[-1]}}}"
    (write_lora(tmp_path) / CONFIG).write_text(text)
    assert "found the field twice" in opened(tmp_path)


def test_a_file_without_an_end(tmp_path):
    folder = write_lora(tmp_path)
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)
    assert "no such file" in opened(folder)
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to("/dev/zero")
    assert "no such file" in opened(folder)


def test_a_link_out_of_the_folder_is_read_and_never_written(tmp_path):
    """The Hub's cache is made of links. What is read through one is checked like any file."""
    elsewhere = tmp_path / "elsewhere"
    write_lora(elsewhere)
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in (CONFIG, WEIGHTS):
        (linked / name).symlink_to(elsewhere / name)
    before = snapshot(elsewhere)
    made = merge(task=linked, reference_target=linked, reference_source=linked)
    made.save(tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    (linked / WEIGHTS).unlink()
    (linked / WEIGHTS).symlink_to("/etc/passwd")
    assert "a whole safetensors file" in tried(linked)
    with pytest.raises(InputError, match="not a folder"):
        (tmp_path / "link").symlink_to(elsewhere)
        made.save(tmp_path / "link", overwrite=True)
    assert snapshot(elsewhere) == before


@pytest.mark.parametrize("sparse", [False, True])
def test_a_pickled_tensor_larger_than_its_file(tmp_path, sparse):
    endless = torch.zeros(1).expand(2, 10**12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyTorch does not check sparse tensors
        tensor = torch.eye(2).to_sparse() if sparse else endless
    (write_lora(tmp_path) / WEIGHTS).unlink()
    torch.save({"q.lora_A.weight": tensor}, tmp_path / "adapter_model.bin")
    with pytest.raises(InputError, match="every number of it in the file"):
        open_checkpoint(tmp_path, allow_pickle=True)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b`c`", "x\n# y", "\x1b[31m"])
def test_a_folder_name_is_no_markup_in_the_model_card(tmp_path, name):
    folder = write_lora(tmp_path / name, base_model_name_or_path=name)
    merge(task=folder, reference_target=folder, reference_source=folder).save(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    front, _, body = card.removeprefix("---\n").partition("---\n")
    assert not set("<>\x1b") & set(body)
    assert "\x1b" not in front
    assert sum(line.startswith("|") for line in body.splitlines()) == 5
    assert {line.count("|") for line in body.splitlines() if line.startswith("|")} == {4}
