"""What this machine has: cores, GPUs, free memory, and in words."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

__all__ = ["cores", "described", "free_memory", "gpus"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_NAMES = {
    # What version 2 and version 1 of cgroups call the limit, what is used, and of that the share
    # that is only a copy of what is on disk.
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def cores() -> int:
    """The cores that this process may use, fewer than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    there = list(Path("/dev").glob("nvidia[0-9]*"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not there:
        return [str(number) for number in range(len(there))]
    # CUDA reads no further than to the first name that is none.
    return list(takewhile(lambda name: name not in ("", "-1"), map(str.strip, named.split(","))))


def free_memory() -> int:
    """Bytes that new processes can have: of the machine, and of the container that this is in."""
    import psutil

    return min([psutil.virtual_memory().available, *_left_of_limits()])


def _left_of_limits() -> Iterator[int]:
    """What is left of the limit of each cgroup that this process is in: psutil knows of none."""
    try:
        lines = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for number, controllers, path in (line.split(":", 2) for line in lines):
        if number == "0":
            version, root = 2, _CGROUPS
        elif "memory" in controllers.split(","):
            version, root = 1, _CGROUPS / "memory"
        else:
            continue
        # A container sees its own as the root, whatever the path says.
        own = Path(path.lstrip("/"))
        for part in (own, *own.parents):
            left = _left(root / part, version)
            if left is not None:
                yield left


def _left(group: Path, version: int) -> int | None:
    limit, used, cached = _NAMES[version]
    try:
        most = int((group / limit).read_text(encoding="ascii"))  # `max` is no number: no limit
        now = int((group / used).read_text(encoding="ascii"))
        facts = dict(map(str.split, (group / "memory.stat").read_text().splitlines()))
        return max(0, most - now + int(facts[cached]))
    except (OSError, ValueError, KeyError):
        return None


def described() -> dict[str, Any]:
    """This machine, for those who read results."""
    import psutil

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _gpu() -> str | None:
    """Where this process has torch loaded, and a GPU: what does not run a model needs none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())
