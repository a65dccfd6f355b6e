"""How many workers there are: by cores, memory and GPUs, each counted by a stand-in."""

import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.run import Store, machine, sizing
from adamergex.run.sizing import Workers, weights_of, workers_for
from adamergex.step import Step, digest

GB = 1e9
TRAIN = Step("train", {})
MERGE = Step("merge", {})


def sized(steps=(TRAIN,), wanted=None, weights=GB, *, cores=4, free=64 * GB, gpus=()):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "cores", lambda: cores)
        patch.setattr(sizing, "free_memory", lambda: free)
        patch.setattr(sizing, "gpus", lambda: list(gpus))
        return workers_for(steps, wanted, weights)


def test_one_a_core_and_at_most_four():
    assert sized(cores=2).count == 2
    assert sized(cores=64) == Workers(
        4, 16, why="4 workers at once: a worker needs about 2.9 GB, 64.0 GB are free"
    )


def test_as_many_as_there_is_memory_for():
    found = sized(cores=2, free=5.7 * GB)
    assert (found.count, found.threads) == (1, 2)
    assert found.why == "1 worker at once: a worker needs about 2.9 GB, 5.7 GB are free"
    assert sized(cores=2, free=5.9 * GB).count == 2


@given(
    cores=st.integers(1, 64),
    weights=st.floats(1e6, 1e12),
    free=st.floats(0, 1e12),
    processes=st.integers(1, 8),
)
def test_what_they_need_together_is_there_or_there_is_one(cores, weights, free, processes):
    training = Step("train", {}, processes=processes)
    found = sized([training, MERGE], weights=weights, cores=cores, free=free)
    assert 1 <= found.count <= 4
    assert found.count == 1 or found.count * processes * weights <= free
    assert found.count * processes <= max(cores, processes)
    assert found.count * found.threads <= cores or found.threads == 1


def test_training_every_weight_takes_more():
    assert sized(free=9 * GB).count == 3
    assert sized([TRAIN, Step("train-sparse", {})], free=9 * GB).count == 1


def test_what_the_user_wants_is_done():
    found = sized(wanted=6, free=GB)
    assert (found.count, found.threads) == (6, 1)
    assert found.why == "6 workers at once: a worker needs about 2.9 GB, 1.0 GB are free"


def test_steps_without_a_model_need_no_memory_to_speak_of():
    assert sized([MERGE], free=0) == Workers(4, 1)


def test_a_model_of_unknown_size_is_said_to_be():
    assert "how much memory the model takes is not known" in sized(weights=None, free=0).why


@pytest.mark.parametrize(
    ("processes", "wanted", "devices"),
    [
        (1, None, ("0", "1", "2", "3")),
        (2, None, ("0,1", "2,3")),
        (3, None, ("0,1,2,3",)),
        (4, None, ("0,1,2,3",)),
        (8, None, ("0,1,2,3",)),  # which says itself that it has too few
        (1, 1, ("0,1,2,3",)),
        (1, 3, ("0", "1", "2")),
        (1, 6, ("0", "1", "2", "3", "0", "1")),
    ],
)
def test_each_worker_has_gpus_of_its_own(processes, wanted, devices):
    found = sized([Step("train", {}, processes=processes)], wanted, gpus="0123", free=0)
    assert (found.count, found.devices) == (len(devices), devices)


def model_step(folder):
    sha = digest(folder)
    return Step("model", {"model": sha}, files={sha: folder})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "steps")


def float32_bytes(tiny):
    return sum(4 * weight.numel() for weight in tiny.model.parameters())


def test_weights_are_counted_without_loading_them(tiny_folder, tiny, store):
    assert weights_of(model_step(tiny_folder), store) == float32_bytes(tiny)
    assert weights_of(Step("score", {}, {"model": model_step(tiny_folder)}), store) > 0


@pytest.mark.parametrize(
    ("config", "wanted"),
    [({"dtype": "bfloat16"}, 4e6), ({"torch_dtype": "float16"}, 4e6), ({}, 2e6)],
)
def test_of_pickles_the_size_is_taken_and_how_wide_a_weight_is(tmp_path, store, config, wanted):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    for part in (1, 2):
        path = tmp_path / "model" / f"pytorch_model-0000{part}-of-00002.bin"
        path.write_bytes(bytes(10**6))
    assert weights_of(model_step(tmp_path / "model"), store) == wanted


def test_what_the_step_counted_that_loaded_it_comes_first(tiny_folder, store):
    store.fill(model_step(tiny_folder), lambda out: {"parameters": 7})
    assert weights_of(model_step(tiny_folder), store) == 28


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_model_that_cannot_be_read_is_of_unknown_size(tmp_path, store, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text("no model")
    assert weights_of(model_step(tmp_path / "model"), store) is None


@pytest.fixture
def cached(tiny_folder, tmp_path, monkeypatch):
    """The tiny model as the Hub's cache has it; its name there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "1" * 40
    shutil.copytree(tiny_folder, tmp_path / "models--org--tiny" / "snapshots" / commit)
    return f"org/tiny@{commit}"


def test_a_model_on_the_hub_is_counted_in_the_cache(cached, tiny, store):
    assert weights_of(Step("model", {"model": cached}), store) == float32_bytes(tiny)


def test_or_by_what_the_hub_says(monkeypatch, store):
    def model_info(repository, *, revision, timeout):
        assert (repository, revision) == ("org/tiny", "1" * 40)
        return SimpleNamespace(safetensors=SimpleNamespace(total=1000))

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))
    assert weights_of(Step("model", {"model": f"org/tiny@{'1' * 40}"}), store) == 4000


def test_nothing_is_known_of_a_model_that_is_neither_here_nor_can_be_asked_for(store):
    assert weights_of(Step("model", {"model": "org/no-such-model"}), store) is None
    assert weights_of(MERGE, store) is None


def test_the_built_in_model_is_known_before_it_is_made(store):
    found = weights_of(Step("model", {"model": "builtin:gemma-3-270m"}), store)
    assert found == 4 * 268_098_176


@pytest.mark.parametrize(
    ("names", "there", "found"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("", 2, []),
        ("1", 2, ["1"]),
        ("GPU-5e, 0,-1,1", 2, ["GPU-5e", "0"]),
        ("0", 0, []),
    ],
)
def test_gpus_are_those_that_cuda_may_see(monkeypatch, names, there, found):
    class Devices:
        def __init__(self, _):
            pass

        def glob(self, _):
            return range(there)

    monkeypatch.setattr(machine, "Path", Devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert machine.gpus() == found


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Writes what cgroups would say, and has it read."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")

    def write(own, groups):
        (tmp_path / "own").write_text(own)
        for folder, files in groups.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (tmp_path / folder / name).write_text(f"{content}\n")

    return write


NEW = ("memory.max", "memory.current", "memory.stat")
OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")


def test_a_containers_limit_is_kept(container):
    files = dict(zip(NEW, (1000, 700, "anon 5\ninactive_file 100"), strict=True))
    container("0::/\n", {".": files})
    assert machine.free_memory() == 400


def test_so_is_that_of_a_group_around_the_own(container):
    inner = dict(zip(NEW, ("max", 700, "inactive_file 100"), strict=True))
    outer = dict(zip(NEW, (900, 700, "inactive_file 0"), strict=True))
    container("1:name=systemd:/\n0::/user/shell\n", {"user/shell": inner, "user": outer})
    assert machine.free_memory() == 200


def test_and_that_of_the_older_kind_of_groups(container):
    files = dict(zip(OLD, (1000, 990, "inactive_file 0\ntotal_inactive_file 50"), strict=True))
    # As a container sees it: the path is the machine's, the files are at the root.
    container("4:cpu,memory:/docker/5e\n0::/\n", {"memory": files})
    assert machine.free_memory() == 60


def test_without_limits_it_is_the_machines(container):
    import psutil

    container("0::/\n", {".": dict(zip(NEW, ("max", 1, "inactive_file 0"), strict=True))})
    assert machine.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
