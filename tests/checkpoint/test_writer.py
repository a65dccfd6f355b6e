"""Writing: the bytes are plain safetensors, and a folder appears whole or not at all."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from adamergex.checkpoint import TensorInfo, check_output, staged, tensor_file, write_json
from adamergex.errors import InputError
from tests.support.folders import snapshot, write_lora

VALUES = {
    "half": np.linspace(-2, 2, 5, dtype=np.float32),
    "single": np.arange(6, dtype=np.float32).reshape(2, 3),
    "double": np.array([[1e-300, 1e300]]),
    "brain": np.array([1.0, -3.0, 2.0**100], np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.float32),
}
INFOS = {
    "half": TensorInfo((5,), "float16"),
    "single": TensorInfo((2, 3), "float32"),
    "double": TensorInfo((1, 2), "float64"),
    "brain": TensorInfo((3,), "bfloat16"),
    "empty": TensorInfo((0, 4), "float32"),
    "scalar": TensorInfo((), "float32"),
}


def written(folder, infos=INFOS, values=VALUES):
    path = folder / "adapter_model.safetensors"
    with tensor_file(path, infos) as put:
        for name, value in values.items():
            put(name, value)
    return path


def header_of(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), 8 + length, len(content)


def test_torch_reads_what_was_written(tmp_path):
    found = safetensors.torch.load_file(written(tmp_path))
    assert found.keys() == VALUES.keys()
    for name, value in VALUES.items():
        dtype = getattr(torch, INFOS[name].dtype)
        assert found[name].dtype == dtype
        assert torch.equal(found[name], torch.tensor(value).to(dtype))


def test_numpy_reads_what_was_written(tmp_path):
    found = safetensors.numpy.load_file(written(tmp_path))
    for name, value in VALUES.items():
        dtype = ml_dtypes.bfloat16 if name == "brain" else INFOS[name].dtype
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], value.astype(dtype))


def test_the_header_is_as_safetensors_writes_it(tmp_path):
    """Aligned, without gaps, and marked as PyTorch's, which transformers insists on."""
    header, base, size = header_of(written(tmp_path))
    assert header.pop("__metadata__") == {"format": "pt"}
    assert base % 8 == 0
    end = 0
    for name, entry in sorted(header.items(), key=lambda kv: kv[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        assert start == end
        if start != stop:
            item = (stop - start) // max(1, int(np.prod(INFOS[name].shape)))
            assert (base + start) % item == 0
        end = stop
    assert base + end == size


def test_the_order_of_the_values_does_not_change_the_bytes(tmp_path):
    first = written(tmp_path).read_bytes()
    turned = dict(reversed(VALUES.items()))
    assert written(tmp_path, dict(reversed(INFOS.items())), turned).read_bytes() == first


def test_a_tensor_is_in_the_file_once_it_is_given(tmp_path):
    """None is held back in memory until the end."""
    value = np.arange(2**20, dtype=np.float32)
    infos = {name: TensorInfo(value.shape, "float32") for name in "ab"}
    with tensor_file(tmp_path / "x.safetensors", infos) as put:
        put("b", value)
        assert (tmp_path / "x.safetensors").stat().st_size >= 2 * value.nbytes
        put("a", value)


def test_threads_may_give_tensors_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    values = {str(i): rng.standard_normal((i + 1, 500)).astype(np.float32) for i in range(200)}
    infos = {name: TensorInfo(x.shape, "float32") for name, x in values.items()}
    path = tmp_path / "x.safetensors"
    with tensor_file(path, infos) as put, ThreadPoolExecutor(8) as pool:
        list(pool.map(put, values, values.values()))
    assert path.read_bytes() == written(tmp_path, infos, values).read_bytes()


def test_a_tensor_that_was_promised_and_not_given_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="brain"):
        written(tmp_path, INFOS, {k: v for k, v in VALUES.items() if k != "brain"})


@pytest.mark.parametrize("bad", [70000.0, -1e30])
def test_a_value_too_large_for_float16_is_an_error(tmp_path, bad):
    with pytest.raises(InputError, match="float16") as caught:
        written(tmp_path, {"x": TensorInfo((2,), "float16")}, {"x": np.array([1.0, bad])})
    assert "x" in str(caught.value)
    assert f"{abs(bad):.3g}" in str(caught.value)


def test_json_is_readable_and_finite(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "x.json").read_text() == '{\n  "b": 1,\n  "a": "ü"\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"b": float("nan")})


def test_a_folder_appears_when_the_block_ends(tmp_path):
    with staged(tmp_path / "out") as folder:
        (folder / "file").write_text("new")
        assert not (tmp_path / "out").exists()
    assert snapshot(tmp_path) == {"out": b"", "out/file": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["out", "not/yet/there/out"])
def test_an_exception_leaves_nothing_behind(tmp_path, error, place):
    with pytest.raises(error), staged(tmp_path / place) as folder:
        (folder / "file").write_text("new")
        raise error
    assert snapshot(tmp_path) == {}


def test_an_exception_leaves_the_old_folder_as_it_was(tmp_path):
    write_lora(tmp_path / "out")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="no"), staged(tmp_path / "out") as folder:
        (folder / "file").write_text("new")
        raise ValueError("no")
    assert snapshot(tmp_path) == before


def test_a_failure_between_the_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    write_lora(tmp_path / "out")
    before = snapshot(tmp_path)
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no space"), staged(tmp_path / "out"):
        pass
    assert snapshot(tmp_path) == before


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    write_lora(tmp_path / "out")
    with staged(tmp_path / "out") as folder:
        (folder / "file").write_text("new")
    assert snapshot(tmp_path) == {"out": b"", "out/file": b"new"}


def test_a_new_path_may_be_written(tmp_path):
    check_output(tmp_path / "out", overwrite=False)
    check_output(tmp_path / "not" / "yet" / "out", overwrite=False)


def test_what_exists_needs_overwrite(tmp_path):
    write_lora(tmp_path / "out")
    with pytest.raises(InputError, match="--overwrite"):
        check_output(tmp_path / "out", overwrite=False)
    check_output(tmp_path / "out", overwrite=True)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=True)


def make_foreign(path):
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def make_file(path):
    path.write_text("x")


def make_link(path):
    path.symlink_to(write_lora(path.parent / "elsewhere"))


def make_broken_link(path):
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize("make", [make_foreign, make_file, make_link, make_broken_link])
def test_overwrite_refuses_what_is_no_adapter_folder(tmp_path, make):
    make(tmp_path / "out")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="an adapter folder to overwrite"):
        check_output(tmp_path / "out", overwrite=True)
    assert snapshot(tmp_path) == before


def test_overwrite_refuses_an_input_and_a_folder_around_one(tmp_path):
    outer = write_lora(tmp_path / "outer")
    inner = write_lora(outer / "inner")
    (tmp_path / "link").symlink_to(inner)
    for source in (inner, tmp_path / "link"):
        for output in (inner, outer):
            with pytest.raises(InputError, match="another folder"):
                check_output(output, overwrite=True, inputs=[source])


@pytest.mark.parametrize("name", ["a b", "ü", "a;b", "$(x)"])
def test_an_output_name_outside_the_allowed_set_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="only letters, digits"):
        check_output(tmp_path / name, overwrite=False)
