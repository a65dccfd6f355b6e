"""One training shared by several processes of a machine, each on a GPU of its own if there are any.

torch starts the processes as torchrun would; what accelerate finds in their environment makes the
trainer wrap the model, by DistributedDataParallel or, sharded, by FSDP.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamergex.errors import AdamergexError, InputError
from adamergex.run.functions import FUNCTIONS
from adamergex.step import Step

__all__ = ["PARALLEL", "record_of"]

PARALLEL = frozenset({"train", "distil"})
"""The kinds of steps that several processes can share."""

_SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""What `accelerate launch` would set for a model that is spread over the processes."""


def record_of(step: Step, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Does what a step says, by as many processes as it is to have; returns its record.

    Raises:
        InputError: More processes than GPUs, where there are any.
        AdamergexError: What the step raised, or that a process ended before its time.
    """
    if step.processes == 1 or step.kind not in PARALLEL:
        return FUNCTIONS[step.kind](step.config, inputs, out)
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    gpus = torch.cuda.device_count()
    if 0 < gpus < step.processes:
        needed = f"at most {gpus}, the GPUs that are here"
        raise InputError("parallel", "processes", found=step.processes, needed=needed)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=step.processes,
        run_id=step.fingerprint,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # its errors are raised, too
    try:
        found = elastic_launch(config, _member)(step, inputs, out)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise AdamergexError(f"{step.label}: {failure.message}") from error
    if isinstance(found[0], AdamergexError):
        raise found[0]
    return found[0]


def _member(step: Step, inputs: Mapping[str, Path], out: Path) -> Any:
    """One process's part: its record, or the error that all of them find."""
    import torch
    from torch import distributed

    from adamergex.run.local import start_worker

    start_worker(max(1, torch.get_num_threads() // step.processes))
    if step.sharded:
        os.environ.update(_SHARDED)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        return FUNCTIONS[step.kind](step.config, inputs, out)
    except AdamergexError as error:
        return error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
