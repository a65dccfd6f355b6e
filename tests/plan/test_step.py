"""Identity: what a step is known by, and what not."""

import hashlib
import json
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.step import Step, digest, digesting, in_order

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
scalars = scalars.filter(lambda x: x not in (float("inf"), float("-inf")))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
configs = st.dictionaries(st.text(max_size=6), values, max_size=4)


def test_fingerprints_are_what_they_were():
    """Finished steps are found by them: a change here means that SCHEMA was raised, or must be.

    The digests are those that `sha256sum` gives of the canonical JSON, for instance of
    {"config":{"scale":1.0},"inputs":{},"kind":"merge","schema":3,"version":1} without a line's end.
    """
    merge = Step("merge", {"scale": 1.0})
    odd = Step("k", {"ü": [None, True, 0.1, 10**20, "\ud800"], "a": {"b": []}}, version=2)
    last = Step("results", {}, {"task": merge, "odd": odd}, label="for people", processes=4)
    assert merge.fingerprint == "d1d0f63fbdd9a7770447c9872b7ca21be49dfb562c08bdfc21b0c24ffa1143e4"
    assert odd.fingerprint == "1e1a04c446b0b07987cbd82689fd66ff8944d3e719bc86b8606f424420c51a18"
    assert last.fingerprint == "91e88cf4d746dddfdddf3f3eaf9d0fb8a1a9591110ca0f4d2173c026328e5a38"


@given(configs)
def test_the_order_of_keys_and_the_label_are_not_part_of_it(config):
    turned = dict(reversed(config.items()))
    one, other = Step("k", config, label="one"), Step("k", turned, label="two")
    assert one == other
    assert hash(one) == hash(other)
    assert one.folder == other.folder


@given(configs, configs)
def test_other_configs_are_other_steps(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (Step("k", one) == Step("k", other)) == same


def test_everything_else_is_part_of_it():
    first, second = Step("a", {"x": 1}), Step("a", {"x": 2})
    steps = [
        Step("k", {}, {"task": first}),
        Step("l", {}, {"task": first}),
        Step("k", {}, {"task": first}, version=2),
        Step("k", {}, {"task": second}),
        Step("k", {}, {"reference": first}),
        Step("k", {}, {"task": first, "reference": first}),
    ]
    assert len(set(steps)) == len(steps)


def test_what_an_input_takes_is_part_of_it():
    deep = [Step("c", {}, {"i": Step("b", {}, {"i": Step("a", {"x": x})})}) for x in (1, 2)]
    assert deep[0] != deep[1]


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset(), b"x", Path("/data"), np.float32(0.5), np.int64(1), np.zeros(2), object()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_json_is_refused(value):
    with pytest.raises(TypeError):
        _ = Step("k", {"deep": [{"x": value}]}).fingerprint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        _ = Step("k", {"x": value}).fingerprint


def test_the_folder_has_a_plain_name():
    step = Step("merge", {"space": "../../etc"}, label="merge <t=1>")
    assert step.folder == f"merge-{step.fingerprint}"


@st.composite
def graphs(draw):
    """Steps of which each may take any earlier ones, some of them twice under other roles."""
    steps = []
    for i in range(draw(st.integers(1, 8))):
        taken = draw(st.lists(st.sampled_from(steps), max_size=4)) if steps else []
        # Few configs: equal steps are made twice, as separate objects.
        config = {"x": draw(st.integers(0, 2))}
        steps.append(Step("k", config, {str(j): s for j, s in enumerate(taken)}, label=str(i)))
    return steps


@given(graphs())
def test_inputs_come_first_and_each_step_once(steps):
    wanted = steps[-2:]
    ordered = in_order(wanted)
    assert len(set(ordered)) == len(ordered)
    assert set(wanted) <= set(ordered)
    for i, step in enumerate(ordered):
        assert set(step.inputs.values()) <= set(ordered[:i])

    def ancestors(step):
        return {step}.union(*(ancestors(needed) for needed in step.inputs.values()))

    assert set(ordered) == set().union(*(ancestors(step) for step in wanted))


def test_a_model_is_known_by_all_that_it_holds_and_not_by_where_it_lies(tmp_path):
    def model(name, weights=b"a" * (5 << 20), page="# A model"):
        folder = tmp_path / name
        (folder / ".git").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "README.md").write_text(page)
        (folder / ".git" / "HEAD").write_text(name)
        return folder

    one = digest(model("one"))
    assert digest(model("two", page="# Another page")) == one
    middle = bytearray(b"a" * (5 << 20))
    middle[5 << 19] = 0
    assert digest(model("three", bytes(middle))) != one
    (model("four") / "model.safetensors").rename(tmp_path / "four" / "other.safetensors")
    assert digest(tmp_path / "four") != one


def test_a_file_that_is_being_digested_is_not_read_a_second_time(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"what it holds")
    opened, go, found = Event(), Event(), []
    really = Path.open

    def held(self, *arguments):
        assert not opened.is_set()
        opened.set()
        assert go.wait(10)
        return really(self, *arguments)

    monkeypatch.setattr(Path, "open", held)
    with digesting([path]):
        assert opened.wait(10)
    asking = Thread(target=lambda: found.append(digest(path)))
    asking.start()
    asking.join(0.1)
    assert asking.is_alive()
    go.set()
    asking.join(10)
    assert found == [hashlib.sha256(b"what it holds").hexdigest()]


def test_threads_take_turns_as_before_once_digests_are_begun():
    before = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError), digesting([]):
        assert sys.getswitchinterval() < before
        _ = 1 / 0
    assert sys.getswitchinterval() == before


def test_what_cannot_be_read_beforehand_is_told_to_who_asks(tmp_path, monkeypatch):
    path, tried = tmp_path / "file", Event()
    path.touch()

    def refused(self, *_):
        tried.set()
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    with digesting([tmp_path / "none", path]):
        assert tried.wait(10)
    with pytest.raises(PermissionError):
        digest(path)
