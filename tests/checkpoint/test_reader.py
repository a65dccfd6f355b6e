"""Opening a folder: lazily, in the stored type, and with everything in the header checked."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import AdamergexError, InputError
from tests.support.folders import (
    PREFIX,
    edit_config,
    edit_tensors,
    lora_tensors,
    stored_tensors,
    write_ia3,
    write_lora,
    write_prefix,
)

A = f"{PREFIX}.0.self_attn.q_proj.lora_A.weight"
WEIGHTS = "adapter_model.safetensors"


def in_dtype(folder, dtype):
    write_lora(folder)
    tensors = {k: torch.tensor(x).to(dtype) for k, x in lora_tensors(0).items()}
    save_file(tensors, folder / WEIGHTS)
    return tensors


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
def test_tensors_come_in_their_stored_dtype(tmp_path, name):
    tensors = in_dtype(tmp_path, getattr(torch, name))
    checkpoint = open_checkpoint(tmp_path)
    for key, wanted in tensors.items():
        found = checkpoint.read(key)
        assert found.dtype.name == name == checkpoint.tensors[key].dtype
        assert checkpoint.tensors[key].shape == tuple(wanted.shape) == found.shape
        np.testing.assert_array_equal(found.astype(np.float64), wanted.double().numpy())


def test_opening_reads_no_tensor(tmp_path):
    """Garbage in the data part is seen when a tensor is read, not before: only headers are read."""
    write_lora(tmp_path)
    wanted = stored_tensors(tmp_path)[A]
    checkpoint = open_checkpoint(tmp_path)
    module = A.removesuffix(".lora_A.weight")
    np.testing.assert_array_equal(checkpoint.part(module, "a"), wanted.astype(np.float32))
    assert checkpoint.shape(module, "a") == (2, 8)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-64] + b"\xff" * 64)
    assert open_checkpoint(tmp_path).tensors == checkpoint.tensors


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_a_dtype_that_is_no_adapters_is_refused(tmp_path, dtype):
    in_dtype(tmp_path, dtype)
    with pytest.raises(InputError, match="needed float64, float32, float16 or bfloat16"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write_lora(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="a whole safetensors file") as caught:
        open_checkpoint(tmp_path)
    assert str(path) in str(caught.value)


def test_a_header_that_lies_about_its_length_is_refused(tmp_path):
    path = write_lora(tmp_path) / WEIGHTS
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(InputError, match="a whole safetensors file"):
        open_checkpoint(tmp_path)


def test_missing_weights_are_named(tmp_path):
    (write_lora(tmp_path) / WEIGHTS).unlink()
    with pytest.raises(InputError, match="no such file") as caught:
        open_checkpoint(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize("shape", [(3, 8), (8,), (2, 8, 1, 1, 1)[:1]])
def test_a_rank_that_the_config_does_not_give_is_refused(tmp_path, shape):
    with pytest.raises(InputError, match="rank 2"):
        open_checkpoint(edit_tensors(write_lora(tmp_path), {A: np.ones(shape)}))


def test_a_config_that_gives_another_rank_is_refused(tmp_path):
    with pytest.raises(InputError, match="rank 3"):
        open_checkpoint(edit_config(write_lora(tmp_path), r=3))


@pytest.mark.parametrize(
    "changes", [{"num_virtual_tokens": 4}, {"num_layers": 3}], ids=["tokens", "layers"]
)
def test_a_prefix_must_have_the_shape_that_its_config_gives(tmp_path, changes):
    with pytest.raises(InputError, match="prompt_embeddings"):
        open_checkpoint(edit_config(write_prefix(tmp_path), **changes))


def test_an_ia3_vector_must_be_a_row_or_a_column(tmp_path):
    folder = write_ia3(tmp_path)
    name = f"{PREFIX}.0.self_attn.k_proj.ia3_l"
    with pytest.raises(InputError, match="k_proj"):
        open_checkpoint(edit_tensors(folder, {name: np.ones((8, 2))}))


def test_a_tensor_may_come_in_parts(tmp_path, monkeypatch):
    """As Linux gives one of more than 2 GiB."""

    really = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: really(file, [buffers[0][:7]], at))
    wanted = stored_tensors(write_lora(tmp_path))
    found = open_checkpoint(tmp_path)
    for name in wanted:
        np.testing.assert_array_equal(found.read(name), wanted[name].astype(np.float32))


def test_tensors_are_read_where_there_is_no_preadv(tmp_path, monkeypatch):
    """As on Windows; by several threads."""
    monkeypatch.delattr(os, "preadv")
    wanted = stored_tensors(write_lora(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        names = [*wanted] * 20
        for name, found in zip(names, pool.map(open_checkpoint(tmp_path).read, names), strict=True):
            np.testing.assert_array_equal(found, wanted[name].astype(np.float32))


def test_a_checkpoint_that_goes_closes_its_file(tmp_path):
    def files():
        return [str(x.readlink()) for x in Path("/proc/self/fd").iterdir() if x.is_symlink()]

    checkpoint = open_checkpoint(write_lora(tmp_path))
    assert str(checkpoint.weights) in files()
    del checkpoint
    assert not any(str(tmp_path) in name for name in files())


def test_a_file_cut_short_since_it_was_opened_is_refused(tmp_path):
    checkpoint = open_checkpoint(write_lora(tmp_path))
    os.truncate(checkpoint.weights, checkpoint.weights.stat().st_size - 1)
    with pytest.raises(InputError, match="as it was when it was opened"):
        for name in checkpoint.tensors:
            checkpoint.read(name)


def test_digests_are_of_the_files(tmp_path):
    folder = write_lora(tmp_path / "one")
    digests = open_checkpoint(folder).digests
    assert set(digests) == {"adapter_config.json", WEIGHTS}
    again = open_checkpoint(write_lora(tmp_path / "two"))
    assert again.digests == digests
    other = open_checkpoint(write_lora(tmp_path / "three", seed=1))
    assert other.digests[WEIGHTS] != digests[WEIGHTS]


def pickled(folder, content):
    write_lora(folder)
    (folder / WEIGHTS).unlink()
    torch.save(content, folder / "adapter_model.bin")
    return folder


def state_dict(dtype=torch.float32):
    return {k: torch.tensor(x).to(dtype) for k, x in lora_tensors(0).items()}


def test_a_pickle_is_refused_without_permission(tmp_path):
    with pytest.raises(InputError, match="--allow-pickle"):
        open_checkpoint(pickled(tmp_path, state_dict()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pickle_is_read_with_permission(tmp_path, dtype):
    checkpoint = open_checkpoint(pickled(tmp_path, state_dict(dtype)), allow_pickle=True)
    for name, wanted in state_dict(dtype).items():
        found = checkpoint.read(name)
        assert checkpoint.tensors[name].dtype == found.dtype.name == str(dtype)[6:]
        np.testing.assert_array_equal(found.astype(np.float64), wanted.double().numpy())


def test_safetensors_are_preferred_to_a_pickle(tmp_path):
    write_lora(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"not even a pickle")
    assert open_checkpoint(tmp_path).weights.name == WEIGHTS


class Harmful:
    """A pickle of it runs a command when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["value", "whole"])
def test_a_harmful_pickle_is_refused_and_runs_nothing(tmp_path, place):
    trace = tmp_path / "it-ran"
    harmful = Harmful(trace)
    content = {**state_dict(), "x": harmful} if place == "value" else harmful
    folder = pickled(tmp_path / "adapter", content)
    with pytest.raises(InputError, match=r"adapter_model\.bin"):
        open_checkpoint(folder, allow_pickle=True)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"x": 3}, {3: torch.ones(2)}, torch.ones(2), {"x": {"y": torch.ones(2)}}],
    ids=["list", "number", "number as name", "tensor", "nested"],
)
def test_a_pickle_of_anything_but_named_tensors_is_refused(tmp_path, content):
    with pytest.raises(InputError):
        open_checkpoint(pickled(tmp_path, content), allow_pickle=True)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x02.", b"PK\x03\x04"])
def test_a_broken_pickle_is_an_error_of_ours(tmp_path, content):
    folder = pickled(tmp_path, {})
    (folder / "adapter_model.bin").write_bytes(content)
    with pytest.raises(AdamergexError, match=r"adapter_model\.bin"):
        open_checkpoint(folder, allow_pickle=True)
