"""Writing an adapter folder: streamed tensor by tensor, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from adamergex.checkpoint.config import CONFIG_FILE
from adamergex.checkpoint.dtypes import SAFETENSORS, Dtype, NDArray, all_finite, numpy_dtype
from adamergex.checkpoint.names import checked_name
from adamergex.checkpoint.reader import TensorInfo
from adamergex.errors import InputError

__all__ = ["check_output", "staged", "tensor_file", "write_json"]

_CODES: Mapping[Dtype, str] = {dtype: code for code, dtype in SAFETENSORS.items()}


def check_output(
    output: Path, *, overwrite: bool, inputs: Iterable[Path] = (), has: str = CONFIG_FILE
) -> None:
    """Raises InputError unless `output` may be written.

    It may if it does not exist, or if `overwrite` is given and it is a folder of this kind, which
    has the file `has`, or an empty one: never a folder of anything else, nor one with an input.
    """
    checked_name(output.resolve().name, output)
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise InputError(output, found="it exists", needed="a new path, or --overwrite")
    kind = "an adapter folder" if has == CONFIG_FILE else f"a folder with {has}"
    needed = f"{kind} to overwrite"
    if output.is_symlink() or not output.is_dir():
        raise InputError(output, found="not a folder", needed=needed)
    if any(output.iterdir()) and not (output / has).is_file():
        raise InputError(output, found=f"a folder without {has}", needed=needed)
    place = output.resolve()
    for source in inputs:
        if source.resolve().is_relative_to(place):
            raise InputError(output, found=f"the input {source}", needed="another folder")


@contextmanager
def staged(output: Path) -> Generator[Path]:
    """A new folder beside `output` that takes its place if the block ends well.

    If the block raises, the new folder is removed and what was at `output` stays as it was.
    """
    output = output.absolute()
    made = [p for p in output.parents if not p.exists()]  # innermost first
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = _new_folder(output)
    try:
        new = stage / "new"
        new.mkdir()  # with the user's umask, unlike the private folder around it
        yield new
        if output.exists():
            output.rename(stage / "old")
        new.rename(output)
    finally:
        # Also when the user interrupts between the two: the old folder must not go with the stage.
        if (stage / "old").exists() and not output.exists():
            (stage / "old").rename(output)
        _remove(stage)
        if not output.exists():
            for folder in made:
                with suppress(OSError):  # someone else put something there
                    folder.rmdir()


def _new_folder(output: Path) -> Path:
    """A private folder beside `output`; what `tempfile` does, which takes 4 ms to load."""
    while True:
        folder = output.parent / f".{output.name}.{os.urandom(4).hex()}.tmp"
        with suppress(FileExistsError):
            folder.mkdir(0o700)
            return folder


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # something is left in it
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _in_order(tensors: Mapping[str, TensorInfo]) -> list[str]:
    """Tensor names in the order of the file: wide types first, which keeps each one aligned."""
    return sorted(tensors, key=lambda n: (-numpy_dtype(tensors[n].dtype).itemsize, n))


@contextmanager
def tensor_file(
    path: Path, tensors: Mapping[str, TensorInfo]
) -> Generator[Callable[[str, NDArray], None]]:
    """A new safetensors file; gives what puts a tensor into it, from any thread and in any order.

    The header goes first, from shapes that are known beforehand: no tensor is held in memory, and
    the same tensors give the same bytes.

    Args:
        path: The file to make.
        tensors: Every tensor's shape and dtype. Each must be given, as (name, array); for one that
            is not finite in its dtype InputError is raised.
    """
    places: dict[str, int] = {}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in _in_order(tensors):
        info, start = tensors[name], end
        end += info.nbytes
        places[name] = start
        header[name] = {
            "dtype": _CODES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        base, turn = file.tell(), Lock()

        def put(name: str, value: NDArray) -> None:
            content: Any = _stored(name, value, tensors[name])
            with turn:
                file.seek(base + places.pop(name))
                file.write(content.reshape(-1).view(np.uint8).data)

        yield put
        if places:
            raise AssertionError(f"no value for {sorted(places)}")
        file.truncate(base + end)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes JSON as people read it; keys in the order given."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _stored(name: str, value: NDArray, info: TensorInfo) -> NDArray:
    """`value` in the dtype that it is to be stored in, not copied where it has that dtype already.

    Raises:
        InputError: It is not finite there.
    """
    if value.shape != info.shape:
        raise AssertionError(f"{name}: {value.shape} was promised as {info.shape}")
    with np.errstate(over="ignore"):
        made: Any = np.asarray(value, numpy_dtype(info.dtype), order="C")
    if not all_finite(made):
        largest = float(np.abs(value).max())
        raise InputError(
            name, found=f"a magnitude of {largest:.3g}", needed=f"one that {info.dtype} can hold"
        )
    return made
