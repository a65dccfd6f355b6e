"""PEFT adapter folders, opened lazily: a tensor is read when it is asked for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, cast
from weakref import finalize

import numpy as np
from safetensors import SafetensorError, safe_open

from adamergex.checkpoint.config import (
    CONFIG_FILE,
    AdapterConfig,
    Ia3Config,
    LoraConfig,
    PrefixConfig,
    read_config,
)
from adamergex.checkpoint.dtypes import (
    SAFETENSORS,
    Dtype,
    NDArray,
    all_finite,
    as_dtype,
    numpy_dtype,
)
from adamergex.checkpoint.hub import resolved
from adamergex.checkpoint.names import Layout, laid_out
from adamergex.checkpoint.parts import model_module
from adamergex.checkpoint.patterns import check_ways
from adamergex.errors import InputError
from adamergex.plain import check_downloaded, parsed_json
from adamergex.step import digest

__all__ = [
    "WEIGHTS_FILE",
    "Checkpoint",
    "TensorInfo",
    "cut_short",
    "open_checkpoint",
    "open_tensors",
]

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

_LONGEST_HEADER = 32 * 2**20
_MOST_TENSORS = 2**17
"""LoRA on each of the 44,000 expert matrices of a 671B mixture of experts has 90,000."""
_MOST_AXES = 8
"""LoRA of a three-dimensional convolution has five; NumPy takes 64, or 32 before its version 2."""


class TensorInfo(NamedTuple):
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: Dtype

    @property
    def nbytes(self) -> int:
        """Its size, in bytes."""
        return math.prod(self.shape) * numpy_dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Checkpoint:
    """An adapter folder: its config and tensor names are known, its tensors still on disk.

    Attributes:
        name: What the user called it: a path or a Hub id.
        folder: Where it is.
        weights: The file of its tensors.
        config: Its validated config.
        tensors: Tensor name, as PEFT writes it -> shape and dtype.
        layout: The same names by module and part, and what they are called in the file.
    """

    name: str
    folder: Path
    weights: Path
    config: AdapterConfig
    tensors: Mapping[str, TensorInfo]
    layout: Layout
    _get: Callable[[str], NDArray] = field(repr=False)

    def read(self, tensor: str) -> NDArray:
        """One tensor, in its stored dtype.

        Raises:
            InputError: It holds NaN or infinity, or the file was cut short since it was opened.
        """
        value = self._get(self.layout.stored[tensor])
        if not all_finite(value):
            needed = "finite values"
            raise InputError(self.weights, tensor, found="NaN or infinity", needed=needed)
        return value

    def part(self, module: str, part: str) -> NDArray:
        """One part of one module's adapter; see Layout for the parts."""
        return self.read(self.layout.modules[module][part])

    def shape(self, module: str, part: str) -> tuple[int, ...]:
        """The shape of that part, without reading it."""
        return self.tensors[self.layout.modules[module][part]].shape

    def scaling(self, module: str) -> float:
        """What a LoRA module's B A is multiplied by."""
        assert isinstance(self.config, LoraConfig)
        return self.config.scaling(model_module(module))

    @cached_property
    def digests(self) -> dict[str, str]:
        """File name -> SHA-256, of the config and of the tensors."""
        files = (self.folder / CONFIG_FILE, self.weights)
        return {file.name: digest(file) for file in files}


def open_checkpoint(source: str | Path, *, allow_pickle: bool = False) -> Checkpoint:
    """Opens a PEFT adapter folder, or downloads one from the Hub by its id.

    Only headers are read, and all that they say is checked: the config, and every tensor's name,
    dtype and shape.

    Args:
        source: A folder, or a Hub id such as "org/name".
        allow_pickle: Whether `adapter_model.bin` may be read (needs torch; weights_only).

    Raises:
        InputError: The file, the field or tensor, what was found there and what was needed.
    """
    folder = resolved(source)
    config = read_config(folder / CONFIG_FILE)
    weights, pickled = folder / WEIGHTS_FILE, folder / PICKLE_FILE
    if not weights.is_file() and pickled.is_file():
        from adamergex.checkpoint.pickled import read_pickle  # few need it

        weights = pickled
        stored = read_pickle(pickled, allowed=allow_pickle)
        found = {k: _info(pickled, k, str(x.dtype), x.shape) for k, x in stored.items()}
        get = stored.__getitem__
    else:
        get, found = open_tensors(weights)
    layout = laid_out({name: info.shape for name, info in found.items()}, config, weights)
    tensors = {name: found[stored] for name, stored in layout.stored.items()}
    checkpoint = Checkpoint(str(source), folder, weights, config, tensors, layout, get)
    _check_shapes(checkpoint)
    return checkpoint


def open_tensors(weights: Path) -> tuple[Callable[[str], NDArray], dict[str, TensorInfo]]:
    """What reads a tensor of a safetensors file by its name, and what there is in it.

    Raises:
        InputError: It is no whole file, or has a tensor that is not floating-point.
    """
    if not weights.is_file():
        needed = "adapter tensors as PEFT's save_pretrained writes them"
        raise InputError(weights, found="no such file", needed=needed)
    end = _data_start(weights)
    try:
        file = cast(Any, safe_open)(weights, framework="numpy")
    except (SafetensorError, OSError) as error:
        found = cut_short(weights) or str(error)
        raise InputError(weights, found=found, needed="a whole safetensors file") from None
    tensors: dict[str, TensorInfo] = {}
    offsets: dict[str, int] = {}
    names: list[str] = file.offset_keys()  # safetensors refuses overlaps and gaps
    if len(names) > _MOST_TENSORS:
        raise InputError(weights, found=f"{len(names)} tensors", needed=f"at most {_MOST_TENSORS}")
    with weights.open("rb") as content:  # of a name that stands twice safetensors takes the last
        parsed_json(content.read(end)[8:].decode(), weights, "header")
    for name in names:
        stored = file.get_slice(name)
        code: str = stored.get_dtype()
        info = _info(weights, name, SAFETENSORS.get(code, code), stored.get_shape())
        tensors[name], offsets[name] = info, end
        end += info.nbytes
    data = _Content(weights)

    def get(name: str) -> NDArray:
        info = tensors[name]
        stored: Any = data.at(offsets[name], info.nbytes)
        if stored.size != info.nbytes:
            needed = "the file as it was when it was opened"
            raise InputError(weights, name, found=f"{stored.size} of its bytes", needed=needed)
        return stored.view(numpy_dtype(info.dtype)).reshape(info.shape)

    return get, tensors


def _data_start(weights: Path) -> int:
    """Where the tensors begin: after the header and the 8 bytes that say how long it is."""
    with weights.open("rb") as file:
        begin = file.read(64)
    check_downloaded(begin, "a whole safetensors file", weights)
    length = int.from_bytes(begin[:8], "little")
    if length > _LONGEST_HEADER and begin.isascii() and begin.decode().isprintable():
        needed = "a whole safetensors file: download it again"
        raise InputError(weights, found=f"a text, {begin.decode()!r}", needed=needed)
    if length > _LONGEST_HEADER:
        needed = f"a whole safetensors file, its header at most {_LONGEST_HEADER} bytes"
        raise InputError(weights, found=f"a header of {length} bytes", needed=needed)
    return 8 + length


def cut_short(weights: Path) -> str | None:
    """How much of a safetensors file is there whose header promises more; None where it is whole.

    What is no such file at all may be either.
    """
    size = weights.stat().st_size
    with weights.open("rb") as file:
        end = 8 + int.from_bytes(file.read(8), "little")
        if end > _LONGEST_HEADER:
            return None
        content = file.read(end - 8)
    if size < end:
        return f"{size} bytes, fewer than its header has"
    try:
        header: Any = json.loads(content)
        promised = end + max(int(x["data_offsets"][1]) for x in header.values() if "shape" in x)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None
    return f"the first {size} of {promised} bytes" if size < promised else None


class _Content:
    """The bytes of a file that stays open; threads may read from it at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._turn = Lock()
        finalize(self, os.close, self._file)

    def at(self, offset: int, count: int) -> NDArray:
        """As many bytes from there on as there are, `count` at most.

        They are copied: pages of a mapped file would count as this process's memory.
        """
        made, found = np.empty(count, np.uint8), 0
        while found < count and (part := self._filled(made[found:].data, offset + found)):
            found += part  # 2 GiB at most on Linux
        return made[:found]

    def _filled(self, buffer: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):  # one call, where threads take turns at each
            return os.preadv(self._file, [buffer], offset)
        with self._turn:
            os.lseek(self._file, offset, os.SEEK_SET)
            content = os.read(self._file, len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _info(file: Path, name: str, dtype: str, shape: Any) -> TensorInfo:
    known = as_dtype(dtype)
    if known is None:
        needed = "float64, float32, float16 or bfloat16"
        raise InputError(file, name, "dtype", found=dtype, needed=needed)
    if 0 in shape or len(shape) > _MOST_AXES:
        needed = f"at most {_MOST_AXES} axes, none of them empty"
        raise InputError(file, name, "shape", found=tuple(shape), needed=needed)
    return TensorInfo(tuple(shape), known)


def _check_shapes(checkpoint: Checkpoint) -> None:
    """What the config and each module's tensors must agree on. Raises InputError."""
    config, file = checkpoint.config, checkpoint.weights
    if isinstance(config, LoraConfig):
        names = checkpoint.layout.modules
        check_ways(config.patterns, names, checkpoint.folder / CONFIG_FILE)
    for module in checkpoint.layout.modules:
        if isinstance(config, LoraConfig):
            a, b = checkpoint.shape(module, "a"), checkpoint.shape(module, "b")
            r = config.rank(model_module(module))
            if len(a) < 2 or len(b) < 2 or a[0] != r or b[1] != r or any(d != 1 for d in b[2:]):
                needed = f"A ({r}, in) and B (out, {r}): the config gives it rank {r}"
                raise InputError(file, module, found=f"A {a} and B {b}", needed=needed)
        elif isinstance(config, Ia3Config):
            shape = checkpoint.shape(module, "vector")
            if len(shape) < 2 or sum(d != 1 for d in shape) > 1:
                raise InputError(file, module, found=shape, needed="(out, 1) or (1, in)")
        elif isinstance(config, PrefixConfig):
            shape, blocks = checkpoint.shape(module, "prefix"), 2 * config.num_layers
            tokens = config.num_virtual_tokens
            if len(shape) != 2 or shape[0] != tokens or shape[1] % blocks or not shape[1]:
                needed = f"({tokens}, a multiple of {blocks}): 2 blocks a layer"
                raise InputError(file, module, found=shape, needed=needed)
