"""Adapters on the Hugging Face Hub, with the download replaced: no test reaches the network."""

import sys

import huggingface_hub
import pytest

from adamergex.checkpoint import open_checkpoint
from adamergex.checkpoint.hub import resolved
from adamergex.errors import AdamergexError, InputError
from tests.support.folders import write_lora


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Downloads arrive at once in a folder of ours; every call is written down."""
    seen = []

    def download(repo, **options):
        seen.append((repo, options))
        return str(write_lora(tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return seen


def test_a_folder_here_is_not_looked_up(tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lora(tmp_path / "org" / "name")
    assert resolved("org/name").resolve() == tmp_path / "org" / "name"
    assert calls == []


def test_a_hub_id_is_downloaded(tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = open_checkpoint("org/some-adapter.v1")
    assert checkpoint.name == "org/some-adapter.v1"
    assert checkpoint.folder == tmp_path / "cache"
    ((repo, options),) = calls
    assert repo == "org/some-adapter.v1"
    # Not the whole repository: it may hold gigabytes of checkpoints.
    assert set(options["allow_patterns"]) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "adapter_model.bin",
    }


@pytest.mark.parametrize(
    "source", ["name", "a/b/c", "../adapter", "/no/such/adapter", "org/na me", "-x/y", "./x", ""]
)
def test_what_is_no_hub_id_is_not_looked_up(tmp_path, calls, monkeypatch, source):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(InputError):
        open_checkpoint(source)
    assert calls == []


def test_a_file_is_no_adapter(tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").write_text("x")
    with pytest.raises(InputError, match="a file"):
        resolved("org/name")
    assert calls == []


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fails(repo, **options):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdamergexError) as caught:
        resolved("org/name")
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("org/name: ")
    assert "no route to host" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_huggingface_hub_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="huggingface_hub installed"):
        resolved("org/name")
