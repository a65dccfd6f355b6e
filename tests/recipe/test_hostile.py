"""Recipes made to do harm: a Recipe or an InputError, soon, and plain data either way."""

import json
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adamergex.errors import InputError
from adamergex.recipe import load_recipe, recipe_from
from adamergex.recipe.plain_yaml import parsed_yaml
from adamergex.step import Step
from tests.support.hostile import watched

BASE = {"model": "m", "source": "en", "targets": ["fa"], "tasks": ["emoji"]}
LOAD = """
import sys
from pathlib import Path
from adamergex.errors import InputError
from adamergex.recipe import load_recipe
try:
    load_recipe(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""


def tried(folder, content):
    """Loads a file; the message where it is refused. What is loaded can be a step's config."""
    path = folder / "r.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        recipe = load_recipe(path)
        message = None
    except InputError as error:
        message = str(error)
        assert message.isprintable()
    else:
        assert Step("any", recipe.model_dump(mode="json", by_alias=True)).fingerprint
    assert [path.name for path in folder.iterdir()] == ["r.yaml"]
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipe")


WORDS = st.sampled_from([
    "model: m\n", "source: en\n", "targets: [fa]\n", "tasks: [emoji]\n", "adapter: ", "seed: ",
    "scale: ", "reference: ", "- ", "? ", ": ", "\n", "  ", "[", "]", "{", "}", "&a ", "*a", "<<: ",
    "!!int ", "!!float ", "!!bool ", "!!null ", "!!set ", "!!binary ", "!!timestamp ", "!x ",
    "!!python/name:os.system ", "|\n", "'", '"', "\\ud800", "\\0", "0x1", "1:30", ".nan", ".inf",
    "2001-01-01", "~", "#", "---\n", "%YAML 1.1\n", "\ufeff", "\x85", "yes", "=", "_",
])  # fmt: skip


@given(st.lists(WORDS | st.text(max_size=3), max_size=14).map("".join))
def test_any_text_is_a_recipe_or_refused(folder, text):
    tried(folder, text)
    tried(folder, yaml.safe_dump(BASE) + text)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(folder, content):
    assert tried(folder, content)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = ["model", "adapter", "source", "targets", "tasks", "reference", "methods", "merge", "scale",
        "training", "max_samples", "data_files", "seed"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_a_recipe_with_anything_in_its_keys_is_a_recipe_or_refused(folder, changes):
    tried(folder, yaml.safe_dump({**BASE, **changes}, allow_unicode=True))


@given(VALUES)
def test_what_is_read_is_what_json_could_hold(value):
    try:
        found = parsed_yaml(yaml.safe_dump(value, allow_unicode=True), "x")
    except InputError:
        return
    json.dumps(found, allow_nan=False)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "an alias"),
        ("a: &a [*a]", "an alias"),
        ("a: {<<: {b: 1}}", "needed plain YAML"),
        ("a: !!python/object/apply:os.system ['touch ran']", "needed plain YAML"),
        ("a: !!python/object/new:os.system ['touch ran']", "needed plain YAML"),
        ("!!python/name:os.system : 1", "needed plain YAML"),
        ("a: !function utils.f", "needed plain YAML"),
        ("a: !!set {b}", "needed plain YAML"),
        ("a: !!binary aGk=", "needed plain YAML"),
        ("a: !!bool maybe", "needed plain YAML"),
        ("a: !!int ''", "needed plain YAML"),
        ("a: .nan", "the number nan"),
        ("a: 1e999", "a: found a key that there is not"),
        ("a: 0x" + "f" * 5000, "a number of 5002 characters"),
        ("a: " + "1:" * 5000 + "1", "a number of 10001 characters"),
        ("? [a, b]\n: 1", "a key that is no text"),
        ("a: " + "[" * 100 + "]" * 100, "more than 32 levels"),
        ("a: " + "[" * 100_000, "more than 32 levels"),
        ("".join(" " * i + "a:\n" for i in range(100)), "more than 32 levels"),
        ('model: "\\e[2J"', "found \\x1b[2J; needed printable characters"),
        ('tasks: ["a\\0b"]', "needed printable characters"),
        ("targets: ['..']", "targets[0]: found .."),
        ("targets: [-x]", "targets[0]: found -x"),
        ("targets: ['<script>alert(1)</script>']", "targets[0]: found <script>"),
        ("reference: {name: <b>, text: ntrex}", "reference[0].name: found <b>"),
        ("adapter: {megatron_config: {}, megatron_core: os}", "without megatron_config"),
        ("adapter: {auto_mapping: {parent_library: os}}", "without auto_mapping"),
    ],
)  # fmt: skip
def test_what_a_recipe_may_not_hold(tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    keys = "".join(
        f"{key}: {json.dumps(value)}\n" for key, value in BASE.items() if f"{key}:" not in text
    )
    assert says in tried(tmp_path, text if text.startswith("!!") else keys + text)


def test_a_date_is_its_text():
    assert parsed_yaml("2001-01-01", "x") == "2001-01-01"


LONG = {
    "a word": "x" * 2**17,
    "a list": "[" + "1," * 65_000 + "]",
    "keys": "".join(f"{i:x}:\n" for i in range(18_000)),
    "question marks": "? " * 60_000,
    "escapes": '"' + "\\x41" * 32_000,
    "dashes": "- " * 60_000,
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_file_takes_seconds_and_little_memory(tmp_path, name):
    (tmp_path / "r.yaml").write_text(LONG[name])
    said, peak = watched(LOAD, tmp_path / "r.yaml")
    assert "found" in said
    assert peak < 512


def test_a_file_of_a_gibibyte_is_not_read(tmp_path):
    (tmp_path / "r.yaml").touch()
    os.truncate(tmp_path / "r.yaml", 2**30)
    said, peak = watched(LOAD, tmp_path / "r.yaml")
    assert "needed at most 131072" in said
    assert peak < 256


def test_a_change_on_the_command_line_is_plain_data_too():
    text = yaml.safe_dump(BASE)
    for change in ("seed=!!python/name:os.system", "adapter.x=.nan", "seed=[&a 1, *a]"):
        with pytest.raises(InputError):
            recipe_from(text, "r.yaml", None, [change])
