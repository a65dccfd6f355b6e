"""Steps on a Ray cluster of three nodes on this machine: results, errors, losses."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from adamergex import __version__
from adamergex.errors import AdamergexError, InputError, UnforeseenError
from adamergex.run import Store, execute
from adamergex.run.ray import RETRIES, execute_on_ray, performed_there
from adamergex.run.shared import SharedStore
from adamergex.run.store import RECORD_FILE, read_record
from adamergex.step import Step, in_order
from tests.cli.test_run import results_of, routing  # noqa: F401 - routing is a fixture
from tests.run.test_local import (
    ADAPTERS,
    CHOICE,
    FAILING,
    LAST,
    MERGED,
    SCORES,
    THREE,
    UNFORESEEN,
    store,  # noqa: F401 - a fixture
)
from tests.support import buckets, clusters
from tests.support.backbones import QUIET_TRAINING
from tests.support.clusters import HELD, alive, attempts, eventually, kill_node, on_trail
from tests.support.folders import write_lora

pytest.importorskip("ray", reason="ray is not installed: pip install 'adamergex[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")

GIVEN = {*ADAPTERS.values(), *SCORES.values()}
ROOT = Path(__file__).parents[2]
SMALLEST = 75 * 2**20
"""Bytes of an object store: Ray refuses a smaller one."""


@pytest.fixture(scope="module")
def bucket():
    """The URL of an S3 that every node reaches."""
    with buckets.s3() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, bucket):
    """A head that does nothing, and two nodes of one CPU, with a cache each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster()
        made.add_node(num_cpus=0, object_store_memory=SMALLEST, include_dashboard=False)
        for _ in range(2):
            add_node(made, tmp_path_factory)
        yield made
        made.shutdown()


def add_node(cluster, tmp_path_factory):
    cache = {"ADAMERGEX_CACHE": str(tmp_path_factory.mktemp("node"))}
    return cluster.add_node(num_cpus=1, object_store_memory=SMALLEST, env_vars=cache)


@pytest.fixture(params=["folder", "url"])
def place(request, store, tmp_path):  # noqa: F811
    """That store as it is, or behind a URL: the folders in it are the same."""
    if request.param == "folder":
        return store
    return SharedStore(f"file://{store.folder}", tmp_path / "cache of the driver")


@pytest.fixture
def trail(tmp_path, monkeypatch):
    """Where attempts at steps are written down."""
    monkeypatch.setattr("adamergex.run.ray.performed_there", clusters.performed_in_sight)
    (tmp_path / "trail").mkdir()
    return tmp_path / "trail"


def made(folder):
    """What a step made, without what another run measures anew."""
    record = read_record(folder)
    for name in ("seconds", "peak_memory", "label"):
        record.pop(name, None)
    files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    del files[Path(RECORD_FILE)]
    return record, files


def test_results_are_those_of_the_local_executor(cluster, place, store, tmp_path):  # noqa: F811
    local = Store(tmp_path / "local")
    for step in GIVEN:
        store.path(step).rename(local.path(step))
        subprocess.run(["cp", "-r", local.path(step), store.folder], check=True)
    execute(LAST, local, workers=1)
    events = []
    folder = execute_on_ray(LAST, place, address=cluster.address, on_event=events.append)
    assert folder == place.path(LAST)
    for step in in_order([LAST]):
        assert made(place.path(step)) == made(local.path(step)), step.label
    assert {e.step for e in events if e.what == "reused"} == GIVEN
    done = [e.step for e in events if e.what == "finished"]
    assert len(done) == len(set(done)) == len(in_order([LAST])) - len(GIVEN)

    events.clear()
    execute_on_ray(LAST, place, address="nowhere:1", on_event=events.append)
    assert {event.what for event in events} == {"reused"}


def test_a_step_that_fails_is_one_line_at_once_and_ends_what_runs(cluster, store, trail):  # noqa: F811
    inputs = {"adapter.0": ADAPTERS["task"], "dev.fa.0": SCORES["0"]}
    config = {"scales": [0.0], "labels": ["t=0"], "by": "score", "languages": ["fa"]}
    held = Step(HELD, config, inputs)
    last = on_trail(Step("select", {}, {"a": held, "b": FAILING}), trail)
    (trail / f"later.{FAILING.folder}").touch()

    def fail():
        eventually(lambda: attempts(trail, held))
        (worker,) = attempts(trail, held)
        (trail / f"later.{FAILING.folder}").unlink()
        try:
            eventually(lambda: not alive(worker))
        finally:
            (trail / "go").touch()  # or a run that waits for it would wait for ever

    with ThreadPoolExecutor() as others:
        failing = others.submit(fail)
        with pytest.raises(InputError) as raised:
            execute_on_ray(last, store, address=cluster.address)
        failing.result()
    assert type(raised.value) is InputError
    assert str(raised.value).startswith("space: found sideways; needed ")
    assert raised.value.exit_code == 2
    assert len(attempts(trail, FAILING)) == 1
    assert not store.finished(held)
    assert not store.finished(FAILING)


def test_errors_that_nobody_foresaw_and_what_no_node_has(cluster, store):  # noqa: F811
    with pytest.raises(UnforeseenError, match=r"^merge nowhere: TypeError: .*$") as raised:
        execute_on_ray(UNFORESEEN, store, address=cluster.address)
    assert "in weighted" in raised.value.where
    with pytest.raises(InputError, match="--cpus-per-step: found 64; needed at most 1, of one"):
        execute_on_ray(MERGED, store, address=cluster.address, cpus=64)
    shared = Step("train", {}, MERGED.inputs, processes=2)
    with pytest.raises(
        InputError, match="--cpus-per-step: found 2, for 2 processes; needed at most 1,"
    ):
        execute_on_ray(shared, store, address=cluster.address)
    with pytest.raises(InputError, match="--gpus-per-step: found 1; needed at most 0, of one"):
        execute_on_ray(MERGED, store, address=cluster.address, gpus=1)


@pytest.mark.slow
def test_a_damaged_input_is_an_error_and_the_next_run_makes_it_anew(cluster, place, store):  # noqa: F811
    execute(MERGED, store, workers=1)
    weights = store.path(MERGED) / "adapter" / "adapter_model.safetensors"
    right = weights.read_bytes()

    def damage(event):
        # Once it has been looked at: what was damaged before is found then.
        if event.what == "reused" and event.step == MERGED:
            weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))

    with pytest.raises(AdamergexError, match=r"adapter_model\.safetensors has changed since"):
        execute_on_ray(CHOICE, place, address=cluster.address, on_event=damage)
    assert not place.finished(CHOICE)
    execute_on_ray(CHOICE, place, address=cluster.address)
    assert weights.read_bytes() == right


@pytest.mark.slow
def test_more_goes_through_a_step_than_the_object_store_holds(cluster, tmp_path):
    store = Store(tmp_path / "steps")  # noqa: F811
    for seed, step in enumerate(THREE.values()):

        def train(out, seed=seed):
            write_lora(out / "adapter", seed, r=256, size=4096)
            return {"init_sha256": "ab" * 32}

        store.fill(step, train)
    merge = Step("merge", {"scale": 0.5, "space": "factor"}, THREE, label="merge")
    sizes = [p.stat().st_size for p in store.folder.rglob("*.safetensors")]
    assert sum(sizes) > SMALLEST
    execute_on_ray(merge, store, address=cluster.address)
    assert store.finished(merge)


@pytest.mark.slow
def test_a_step_that_is_lost_with_its_node_is_done_again(cluster, place, trail, tmp_path_factory):

    def kill():
        eventually(lambda: attempts(trail, CHOICE))
        (raylet,) = attempts(trail, CHOICE).values()
        kill_node(raylet)
        (trail / "go").touch()
        return next(node for node in cluster.worker_nodes if raylet_of(node) == raylet)

    with ThreadPoolExecutor() as others:
        killed = others.submit(kill)
        try:
            execute_on_ray(on_trail(LAST, trail), place, address=cluster.address)
        finally:
            cluster.remove_node(killed.result(), allow_graceful=False)
            add_node(cluster, tmp_path_factory)
    tried = attempts(trail, CHOICE)
    assert len(tried) == 2
    assert len(set(tried.values())) == 2
    assert read_record(place.path(CHOICE))["chosen"] == 1
    assert len(attempts(trail, MERGED)) == 1


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


@pytest.mark.slow
def test_a_step_that_ends_every_worker_is_given_up(cluster, store, trail, monkeypatch):  # noqa: F811
    monkeypatch.setattr("adamergex.run.ray.performed_there", clusters.died_in_sight)
    with pytest.raises(AdamergexError, match=r"lost 4 times with its worker or node"):
        execute_on_ray(on_trail(MERGED, trail), store, address=cluster.address)
    assert len(attempts(trail, MERGED)) == 1 + RETRIES


@pytest.mark.slow
def test_a_killed_run_is_taken_up_where_it_was(cluster, place, trail):
    url = place.url if isinstance(place, SharedStore) else str(place.folder)
    program = [sys.executable, "-m", "tests.support.clusters", cluster.address, url, str(trail)]
    with subprocess.Popen(program, cwd=ROOT) as driver:
        eventually(lambda: attempts(trail, CHOICE))
        done = [step for step in in_order([LAST]) if place.finished(step)]
        driver.kill()
    (worker,) = attempts(trail, CHOICE)
    eventually(lambda: not alive(worker), 30)  # Ray ends what a dead driver had begun
    assert MERGED in done
    (trail / "go").touch()
    events = []
    execute_on_ray(on_trail(LAST, trail), place, address=cluster.address, on_event=events.append)
    assert {*done} <= {event.step for event in events if event.what == "reused"}
    assert len(attempts(trail, MERGED)) == 1
    assert len(attempts(trail, CHOICE)) == 2


def test_a_node_that_is_otherwise_is_refused(store, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("adamergex.run.ray.set_up", lambda threads: None)
    with pytest.raises(InputError, match=r"^adamergex on node .*: found .*; needed 0\.0\.0$"):
        performed_there(MERGED, str(store.folder), 1, "0.0.0")
    rows = tmp_path / "en.csv"
    step = replace(MERGED, files={"ab" * 32: rows})
    with pytest.raises(InputError, match=r"en\.csv: found something else, or nothing, on "):
        performed_there(step, str(store.folder), 1, __version__)
    rows.write_text("another content")
    with pytest.raises(InputError, match=r"en\.csv: found something else, or nothing, on "):
        performed_there(step, str(store.folder), 1, __version__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "a:1"], "--address: found local; needed --executor ray"),
        (["--store", "s3://b"], "--store: found s3://b; needed a folder, or --executor ray"),
        (["--executor", "ray", "--workers", "2"], "--workers: found ray; needed --executor local"),
    ],
)
def test_options_of_the_other_executor_are_refused(capsys, options, message):
    from adamergex.cli import main

    assert main(["demo", *options]) == 2
    assert capsys.readouterr().err == f"adamergex: error: {message}\n"


@pytest.mark.slow
@QUIET_TRAINING
def test_a_recipe_here_on_a_cluster_and_with_a_ray_of_its_own(cluster, bucket, routing, tmp_path):  # noqa: F811
    """A model and data in local files, which the nodes know from S3 alone."""
    recipe, changes = routing
    program = [sys.executable, "-m", "adamergex", "run", recipe, *changes, "--output"]
    on_ray = ["--executor", "ray", "--store"]
    for output, options in {
        "here": ["--workers", "2"],
        "cluster": [*on_ray, f"{bucket}/steps", "--address", cluster.address],
        "own": [*on_ray, tmp_path / "steps"],
    }.items():
        # Ray writes the token of a cluster of its own into the user's folder.
        home = os.environ | ({"HOME": str(tmp_path)} if output == "own" else {})
        subprocess.run([*program, tmp_path / output, *options], check=True, cwd=ROOT, env=home)
    here, there, own = (results_of(tmp_path / name)["tasks"] for name in ("here", "cluster", "own"))
    assert here == there == own
    # PEFT writes the names of modules in an order of chance: the configs are left out.
    name = "adapters/routing-sw/adapter_model.safetensors"
    weights = (tmp_path / "here" / name).read_bytes()
    assert (tmp_path / "cluster" / name).read_bytes() == weights
    assert (tmp_path / "own" / name).read_bytes() == weights
