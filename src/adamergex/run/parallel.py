"""One training shared by several processes of a machine, each on a GPU of its own if there are any.

torch starts the processes as torchrun would; what accelerate finds in their environment makes the
trainer wrap the model in DistributedDataParallel. What is frozen in it they may divide among them.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adamergex.errors import AdamergexError, InputError, UnforeseenError
from adamergex.run.log import foreseen
from adamergex.step import Step

__all__ = ["processes_of", "record_of"]

_SHARED = frozenset({"train", "distil"})
_ERROR = ".error"


def processes_of(step: Step) -> int:
    """How many processes do a step: several share a training only."""
    return step.processes if step.kind in _SHARED else 1


def record_of(step: Step, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Does what a step says, by as many processes as it is to have; returns its record.

    Raises:
        InputError: More processes than GPUs, where there are any.
        AdamergexError: That a process ended before its time.
        Exception: What the step raised; from several processes, an AdamergexError.
    """
    if processes_of(step) == 1:
        return _done(step, inputs, out)
    _make_room(step)
    with TemporaryDirectory() as scratch:
        return _shared(step, inputs, out, Path(scratch))


def _done(step: Step, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    from adamergex.run.functions import FUNCTIONS
    from adamergex.run.training import carrying_out

    with carrying_out(step):
        return FUNCTIONS[step.kind](step.config, inputs, out)


def _make_room(step: Step) -> None:
    """Sees that each process has a GPU, without the model that this one keeps on the first."""
    import torch

    from adamergex.models import unload

    gpus = torch.cuda.device_count()
    if 0 < gpus < step.processes:
        needed = f"at most {gpus}, the GPUs that are here"
        raise InputError("parallel", "processes", found=step.processes, needed=needed)
    if gpus:
        unload()
        gc.collect()
        torch.cuda.empty_cache()


def _shared(step: Step, inputs: Mapping[str, Path], out: Path, scratch: Path) -> dict[str, Any]:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=step.processes,
        run_id=step.fingerprint,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="SIGTERM",  # interrupts are not for a process that does steps
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch / "logs")),
    )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    before = signal.getsignal(signal.SIGTERM)
    logging.disable(logging.CRITICAL)  # what goes wrong is raised
    try:
        return elastic_launch(config, _member)(step, inputs, out, scratch)[0]
    except ChildFailedError as error:
        raise _cause(step, error, scratch) from error
    finally:
        logging.disable(logging.NOTSET)
        signal.signal(signal.SIGTERM, before)


def _cause(step: Step, failed: Any, scratch: Path) -> AdamergexError:
    """Of several errors the one that began it: when a process is lost, the others raise theirs."""
    raised = {
        int(path.stem): pickle.loads(path.read_bytes()) for path in scratch.glob(f"*{_ERROR}")
    }
    known = [error for error in raised.values() if not isinstance(error, UnforeseenError)]
    rank, failure = failed.get_first_failure()
    if known:
        return known[0]
    return raised.get(rank) or AdamergexError(f"{step.label}: {failure.message}")


def _member(step: Step, inputs: Mapping[str, Path], out: Path, scratch: Path) -> dict[str, Any]:
    """One process's part. If it raises, the others, which may wait for it, are ended."""
    import torch
    from torch import distributed

    from adamergex.models import dividing
    from adamergex.run.worker import start_worker

    threads = max(1, torch.get_num_threads() // step.processes)
    start_worker(threads)
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        with foreseen(step), dividing() if step.shard else nullcontext():
            record = _done(step, inputs, out)
    except AdamergexError as error:
        draft = scratch / os.environ["RANK"]
        draft.write_bytes(pickle.dumps(error))
        draft.rename(draft.with_suffix(_ERROR))
        raise
    distributed.destroy_process_group()
    return record
