"""Hostile files: a safetensors file with any header, and a process that is watched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WEIGHTS = "adapter_model.safetensors"


def write_header(folder: Path, header: Mapping[str, Any] | bytes, data: bytes = b"") -> Path:
    """Puts a safetensors file with this header, true or not, into an adapter's folder."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def watched(code: str, *arguments: object, seconds: float = 120) -> tuple[str, int]:
    """What Python code prints in a process of its own, and the most memory that it held, in MiB.

    Fails where it takes longer than `seconds`, or ends with a traceback.
    """
    # Not resource.getrusage: that begins with what the process that started it held.
    last = "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])"
    call = [sys.executable, "-W", "ignore", "-c", code + last, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        call, capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), int(peak) // 1024
