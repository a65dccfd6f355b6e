"""What cannot be read or written is named, whoever's it is."""

import errno
import os
import subprocess

import pytest

from adamergex.errors import AdamergexError, InputError
from adamergex.run import Store
from adamergex.step import Step
from tests.run.test_store import STEP, fill_with


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / "steps")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB. Only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("writer", ["python", "safetensors", "torch"])
def test_a_full_disk_is_named_and_what_is_finished_is_kept(small_disk, writer):
    import torch
    from safetensors.torch import save_file

    store = Store(small_disk / "steps")
    fill_with(store)
    big = {"a": torch.zeros(2**20)}

    def work(out):
        if writer == "python":
            (out / "big").write_bytes(b"x" * 2**22)
        elif writer == "safetensors":
            save_file(big, out / "big")
        else:
            torch.save(big, out / "big")
        return {}

    other = Step("merge", {"scale": 0.5})
    # One library takes away what it has written: then it is not known which disk is the full one.
    where = "merge" if writer == "safetensors" else "steps"
    with pytest.raises(
        AdamergexError, match=f"{where}: the disk is full; what is finished is kept"
    ):
        store.fill(other, work)
    assert not store.finished(other)
    assert store.damage(STEP) is None
    store.fill(other, lambda out: {})  # what the attempt wrote is gone


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_what_a_step_may_not_read_is_not_laid_at_the_stores_door(store, number):
    own = OSError(number, os.strerror(number), "/data/secret.csv")

    def work(out):
        raise own

    with pytest.raises(OSError, match=r"secret\.csv") as raised:
        store.fill(STEP, work)
    assert raised.value is own


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_a_step_may_not_write_in_the_store_is(store, number):
    def work(out):
        raise OSError(number, os.strerror(number), str(out / "adapter"))

    with pytest.raises(InputError, match=r"steps: found .*; needed a folder that can be written"):
        store.fill(STEP, work)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_another_disk_that_is_full_is_named(store, number):
    def work(out):
        raise OSError(number, os.strerror(number), "/cache/hub/model.safetensors")

    with pytest.raises(AdamergexError, match=r"^/cache/hub/model\.safetensors: the disk is full; "):
        store.fill(STEP, work)


def test_a_store_that_may_not_be_written_to_is_read(small_disk):
    store = Store(small_disk / "steps")
    fill_with(store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    store = Store(small_disk / "steps")
    with store.in_use():
        assert store.finished(STEP)
        assert store.damage(STEP) is None
    with pytest.raises(InputError, match=r"steps: found .*; needed a folder that can be written"):
        store.fill(Step("merge", {"scale": 0.5}), lambda out: {})
    with pytest.raises(InputError, match="needed a folder that can be written"):
        Store(small_disk / "other")
