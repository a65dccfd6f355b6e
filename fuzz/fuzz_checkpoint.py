"""Atheris: any bytes as an adapter folder are opened and read, or refused with an InputError.

An input is the config's length (2 bytes, little-endian), adapter_config.json, and after it
adapter_model.safetensors.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["adamergex"]):
    from adamergex.checkpoint import open_checkpoint
    from adamergex.errors import InputError
    from adamergex.merging import merge

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-checkpoint-"))
FILES = {"adapter_config.json", "adapter_model.safetensors"}


def one_input(data: bytes) -> None:
    """Raises whatever is not an InputError; also where anything was written."""
    end = 2 + int.from_bytes(data[:2], "little")
    (FOLDER / "adapter_config.json").write_bytes(data[2:end])
    (FOLDER / "adapter_model.safetensors").write_bytes(data[end:])
    with contextlib.suppress(InputError):
        checkpoint = open_checkpoint(FOLDER)
        for name in checkpoint.tensors:
            checkpoint.read(name)
        checkpoint.config.written()
        merge(task=FOLDER, reference_target=FOLDER, reference_source=FOLDER)
    assert {path.name for path in FOLDER.iterdir()} == FILES, "something was written"


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
