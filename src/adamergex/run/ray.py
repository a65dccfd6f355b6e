"""Executing steps on a Ray cluster: each step a task, which nothing but folders in a store leaves.

A task whose worker or node is lost is done again; an error that a step raised is not tried twice.
Ray ends the tasks of a driver that has left, also by an error or an interrupt, so a run that is
started again finds only finished steps.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adamergex import __version__
from adamergex.errors import AdamergexError, InputError
from adamergex.run.log import foreseen
from adamergex.run.parallel import processes_of
from adamergex.run.schedule import Event, carried_out, outstanding
from adamergex.run.shared import SharedStore, store_at
from adamergex.run.sizing import WITH_MODEL
from adamergex.run.store import Store
from adamergex.run.worker import performed, set_up
from adamergex.step import Step, digest, in_order

__all__ = ["RETRIES", "execute_on_ray"]

RETRIES = 3
"""How often a step is tried again after its worker or its node was lost."""

_OBJECT_STORE = 100 * 2**20
"""Bytes of Ray's own store, about its smallest: steps pass nothing through it."""


def execute_on_ray(
    last: Step,
    store: Store | SharedStore,
    *,
    address: str | None = None,
    cpus: int = 1,
    gpus: float | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Path:
    """Does every step that `last` needs and that is not in the store; returns the folder of `last`.

    Args:
        last: The step that is wanted.
        store: Where finished steps are and go: a folder that all nodes mount, or a SharedStore.
        address: Of a cluster; None starts Ray on this machine, for this run alone.
        cpus: How many a step has, and threads.
        gpus: How many a step has that runs the model; by default 1 where there are any.
        on_event: Called in this thread, in order.

    Raises:
        InputError: No cluster there, or no node that has what a step is to have.
        AdamergexError: What a step raised, or that it was lost too often.
    """
    with store.in_use():
        waiting = outstanding(in_order([last]), store, on_event)
        if waiting:
            with _cluster(address) as ray:
                _run(ray, waiting, store, _needs(ray, waiting, cpus, gpus), on_event)
    return store.path(last)


def _run(
    ray: Any,
    waiting: list[Step],
    store: Store | SharedStore,
    needs: Mapping[Step, Mapping[str, Any]],
    on_event: Callable[[Event], None],
) -> None:
    place = store.url if isinstance(store, SharedStore) else str(store.folder)
    task = ray.remote(performed_there)

    def submit(step: Step) -> Future[None]:
        if isinstance(store, SharedStore):
            store.give(step)
        own = needs[step]
        made = task.options(name=step.label or step.kind, max_retries=RETRIES, **own)
        return _handed_on(made.remote(step, place, own["num_cpus"], __version__), step)

    # Everything that can run is queued: Ray knows what is free, and what to start nodes for.
    carried_out(waiting, len(waiting), submit, on_event)


def performed_there(step: Step, place: str, threads: int, version: str) -> None:
    """Does one step on a node, from and into the store at `place`.

    Raises:
        InputError: Another version of adamergex on this node, or a file that is not there.
    """
    set_up(threads)
    with foreseen(step):
        _perform_there(step, place, version)


def _perform_there(step: Step, place: str, version: str) -> None:
    node = os.uname().nodename
    if version != __version__:
        raise InputError(f"adamergex on node {node}", found=__version__, needed=version)
    store = store_at(place)
    if isinstance(store, SharedStore):
        store.perform(step)
        return
    for sha, path in step.files.items():
        if not path.exists() or digest(path) != sha:
            needed = "the same as where the run was started (or --store with a URL)"
            raise InputError(path, found=f"something else, or nothing, on {node}", needed=needed)
    performed(step, store.folder)


def _handed_on(task: Any, step: Step) -> Future[None]:
    """The future of a Ray task, with errors as a step raised them."""
    from ray.exceptions import RayTaskError

    future: Future[None] = Future()

    def hand_on(done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            future.set_result(None)
        elif isinstance(error, RayTaskError):
            future.set_exception(error.cause)
        else:
            lost = f"lost {RETRIES + 1} times with its worker or node (out of memory?)"
            future.set_exception(AdamergexError(f"{step.label}: {lost}: {type(error).__name__}"))

    task.future().add_done_callback(hand_on)
    return future


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected. What is started here is this run's alone, without a dashboard."""
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's ports are open to the network. From 2.52 on they can ask for a token.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    options = own if address is None else {}
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # Ray raises errors of many kinds here, Exception itself too
        if address is None:
            raise AdamergexError(f"Ray cannot be started on this machine: {error}") from error
        needed = "the address of a Ray cluster that runs, as in 10.0.0.1:6379, or none"
        raise InputError("--address", found=f"{address} ({error})", needed=needed) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _needs(
    ray: Any, steps: list[Step], cpus: int, gpus: float | None
) -> dict[Step, dict[str, Any]]:
    """What each step has, in Ray's words. Raises InputError for what no node has: it would wait.

    Args:
        ray: Connected to the cluster.
        steps: What is to be done.
        cpus: Of each process of a step.
        gpus: Of a process that runs the model; by default 1 where there are any. Several that
            share a training have a whole one each.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {name: max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    gpus = min(1, most["GPU"]) if gpus is None else gpus
    found: dict[Step, dict[str, Any]] = {}
    for step in steps:
        several = processes_of(step)
        own = gpus if step.kind in WITH_MODEL else 0
        if own and several > 1:
            own = several * max(1, own)
        found[step] = {"num_cpus": several * cpus, "num_gpus": own}
        for name, wanted in (("CPU", several * cpus), ("GPU", max(gpus, own))):
            if wanted > most[name]:
                of = f", for {several} processes" if several > 1 else ""
                needed = f"at most {most[name]:g}, of one node"
                raise InputError(
                    f"--{name.lower()}s-per-step", found=f"{wanted}{of}", needed=needed
                )
    return found
