"""A store at a URL: the record last, what is fetched compared with it, local files put there."""

import json
import shutil

import pytest
from fsspec.core import url_to_fs

from adamergex.errors import AdamergexError, InputError
from adamergex.plan import planned
from adamergex.recipe import demo_recipe
from adamergex.run import Store
from adamergex.run.functions import FUNCTIONS
from adamergex.run.shared import SharedStore, store_at
from adamergex.run.store import RECORD_FILE
from adamergex.step import Step, digest, in_order
from tests.support.backbones import QUIET_TRAINING
from tests.support.buckets import STORES
from tests.support.folders import write_lora

TASK, REFERENCE = (Step("train", {"name": name}) for name in ("task", "reference"))
SUM = Step(
    "weighted",
    {"rule": "add", "weights": {"task": 1.0, "reference": 0.5}, "scale": 0.5},
    {"task": TASK, "reference": REFERENCE},
    label="sum",
)
WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module", params=STORES)
def bucket(request):
    """The URL of an object store: folders are only parts of names in it."""
    with STORES[request.param]() as url:
        yield url


@pytest.fixture
def shared(bucket, tmp_path):
    """A store there with two adapters, seen from a machine that has nothing of them."""
    store = SharedStore(f"{bucket}/{tmp_path.name}", tmp_path / "maker")
    for seed, step in enumerate((TASK, REFERENCE)):
        store.cache.fill(step, lambda out, seed=seed: write_lora(out / "adapter", seed) and {})
        store.perform(step)
    return seen_from(store, tmp_path / "machine")


@pytest.fixture
def remote(shared):
    """What is there, without the store; it is the object that every store of that kind uses."""
    return url_to_fs(shared.url)[0]


def seen_from(store, cache):
    return SharedStore(store.url, cache)


def at(store, step, name=RECORD_FILE):
    return f"{store.url.partition('://')[2]}/{step.folder}/{name}"


def contents(store, remote):
    return {name: remote.cat_file(name) for name in remote.find(store.url)}


def test_a_step_is_done_on_one_machine_and_read_on_another(shared, tmp_path):
    assert not shared.finished(SUM)
    shared.perform(SUM)
    other = seen_from(shared, tmp_path / "other")
    assert other.finished(SUM)
    assert other.damage(SUM) is None
    folder = other.path(SUM)
    assert folder.is_relative_to(tmp_path / "other")
    assert Store(tmp_path / "other").damage(SUM) is None
    assert digest(folder) == digest(shared.cache.path(SUM))
    assert other.record(SUM) == shared.cache.record(SUM) == other.cache.record(SUM)


def test_the_record_is_put_there_last(shared, remote, monkeypatch):
    put = []
    really = remote.put_file

    def seen(local, name, *args, **options):
        put.append(name.partition(f"{SUM.folder}/")[2])
        return really(local, name, *args, **options)

    monkeypatch.setattr(remote, "put_file", seen)
    shared.perform(SUM)
    assert WEIGHTS in put
    assert put.index(RECORD_FILE) == len(put) - 1


def test_an_interrupted_upload_is_not_finished_and_is_done_again(shared, remote, monkeypatch):
    really = remote.put_file
    with monkeypatch.context() as patch:

        def interrupted(local, name, *args, **options):
            if name.endswith(RECORD_FILE):
                raise KeyboardInterrupt
            return really(local, name, *args, **options)

        patch.setattr(remote, "put_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shared.perform(SUM)
    assert remote.exists(at(shared, SUM, WEIGHTS))
    assert not shared.finished(SUM)
    shared.perform(SUM)
    assert shared.finished(SUM)


def test_what_is_not_what_was_put_there_is_refused_and_forgotten(shared, remote):
    weights = at(shared, TASK, WEIGHTS)
    remote.pipe_file(weights, remote.cat_file(weights)[:-1] + b"?")
    problem = f"^{shared.url}: {TASK.folder}: {WEIGHTS} has changed since it was made"
    with pytest.raises(AdamergexError, match=problem):
        shared.perform(SUM)
    assert not shared.cache.finished(TASK)
    assert not shared.finished(TASK)
    assert not shared.finished(SUM)


def test_a_damaged_copy_in_the_cache_is_fetched_anew(shared):
    weights = shared.path(TASK) / WEIGHTS
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + b"?")
    assert (shared.path(TASK) / WEIGHTS).read_bytes() == right
    shared.perform(SUM)
    shared.discard(SUM)
    (shared.cache.path(SUM) / WEIGHTS).write_bytes(b"?")
    shared.perform(SUM)  # not with what the cache says it made
    assert Store(shared.cache.folder).damage(SUM) is None


def test_a_missing_file_and_a_record_cut_short_are_damage(shared, remote):
    remote.rm_file(at(shared, TASK, WEIGHTS))
    assert shared.damage(TASK) == f"{WEIGHTS} is missing"
    remote.pipe_file(at(shared, TASK), b'{"kind"')
    assert shared.damage(TASK) == f"{RECORD_FILE} cannot be read"
    shared.discard(TASK)
    assert not shared.finished(TASK)
    assert not [name for name in contents(shared, remote) if TASK.folder in name]
    shared.discard(TASK)  # another machine may have been faster


@pytest.mark.parametrize("name", ["../outside", "/outside", "adapter/../../outside"])
def test_a_record_leads_nowhere_outside_its_step(shared, remote, tmp_path, name):
    remote.pipe_file(at(shared, TASK), json.dumps({"files": {name: "00"}}).encode())
    with pytest.raises(AdamergexError, match="lies outside its step"):
        shared.path(TASK)


def test_local_files_are_put_there_once_and_read_from_there(shared, remote, tmp_path, monkeypatch):
    model = tmp_path / "driver" / "model"
    (model / "weights").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "weights" / "1").write_text("one")
    (model / "README.md").write_text("not counted")
    rows = tmp_path / "driver" / "en.csv"
    rows.write_text("message,team\n")
    files = {digest(path): path for path in (model, rows)}
    step = Step("probe", {"files": list(files)}, files=files)

    def probe(config, inputs, out):
        assert not rows.exists()
        at_hand = [inputs[sha] for sha in config["files"]]
        return {"names": [p.name for p in at_hand], "digests": [digest(p) for p in at_hand]}

    monkeypatch.setitem(FUNCTIONS, "probe", probe)
    shared.give(step)
    there = contents(shared, remote)
    seen_from(shared, tmp_path / "again").give(step)
    assert contents(shared, remote) == there
    assert not [name for name in there if name.endswith("README.md")]
    rows.unlink()
    other = seen_from(shared, tmp_path / "other")
    other.perform(step)
    record = other.record(step)
    assert record["names"] == ["model", "en.csv"]
    assert record["digests"] == list(files)


@QUIET_TRAINING
def test_adapters_name_their_model_as_where_the_run_was_started(tiny_folder, tmp_path):
    """Not as in the cache of the machine that trained them, nor after they are written."""
    model = shutil.copytree(tiny_folder, tmp_path / "driver" / "model")
    changes = [
        f"model={model}",
        "targets=tr",
        "methods=[source-ft, lt-sft]",
        "training.max_steps=1",
    ]
    changes += ["max_samples={train: 4, dev: 2, test: 2}"]
    steps = in_order([planned(demo_recipe(changes))])
    trained = [
        next(step for step in steps if step.kind == kind) for kind in ("train", "train-sparse")
    ]
    store = SharedStore(f"file://{tmp_path / 'bucket'}", tmp_path / "machine")
    for step in in_order(trained):
        store.give(step)
    shutil.rmtree(model)
    for step in in_order(trained):
        store.perform(step)
    for step in trained:
        adapter = store.path(step) / "adapter"
        texts = [path.read_text(encoding="utf-8") for path in adapter.glob("*.[jm]*")]
        (config,) = (json.loads(text) for text in texts if "base_model_name_or_path" in text)
        assert config["base_model_name_or_path"] == str(model)
        assert not [text for text in texts if str(tmp_path / "machine") in text]  # the card, too


def test_a_local_file_that_has_changed_is_refused(shared, tmp_path):
    rows = tmp_path / "en.csv"
    rows.write_text("message,team\n")
    step = Step("probe", {}, files={digest(rows): rows})
    rows.write_text("message,team\nx,y\n")
    with pytest.raises(InputError, match=r"en\.csv: found another content than when"):
        shared.give(step)


@pytest.mark.parametrize("url", ["nothing://bucket", "s4://bucket/steps"])
def test_a_url_of_an_unknown_kind(url):
    with pytest.raises(InputError, match=f"^store: found {url} .*; needed a URL that fsspec knows"):
        store_at(url)


def test_storage_that_cannot_be_reached_is_named_and_is_not_an_empty_store(
    shared, remote, monkeypatch
):
    def refused(*args, **options):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(remote, "info", refused)
    with pytest.raises(AdamergexError, match=rf"^{shared.url}: PermissionError: .*"):
        shared.finished(TASK)
