"""A model folder from anywhere: its code is not run, nor asked about, and no pickle runs."""

import json
import os
import shutil

import pytest
import torch

from adamergex.errors import InputError
from adamergex.models import backbone, backbone_family, tokenizer


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def refused(folder):
    messages = []
    for load in (backbone, tokenizer):
        backbone_family.cache_clear()
        with pytest.raises(InputError) as caught:
            load(str(folder))
        messages.append(str(caught.value))
    assert all(message.startswith(f"{folder}: ") and message.isprintable() for message in messages)
    return messages


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_in_a_model_folder_is_not_run(folder, tmp_path, monkeypatch):
    """transformers would ask at the terminal whether to, and take `y` for an answer."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    hooks = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.C")
    edit(folder / "config.json", auto_map=hooks, model_type="of-its-own")
    for message in refused(folder):
        assert "custom code" in message
    assert not (tmp_path / "ran").exists()


def test_code_that_stands_beside_a_known_model_is_not_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.C"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.C", None]})
    backbone_family.cache_clear()
    assert type(backbone(str(folder)).model).__module__.startswith("transformers.")
    assert not (tmp_path / "ran").exists()


class Harmful:
    """A pickle of it makes a folder when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_run_nothing(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save({"x": Harmful(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="needed a model that transformers loads"):
        backbone(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "\\u001b[2J"}', "[" * 100_000, "\x00"]
)
def test_a_config_that_is_none(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder)


@pytest.mark.parametrize(
    ("kept", "found"), [(100, "100 bytes, fewer than its header has"), (-100, "the first .* bytes")]
)
def test_weights_that_are_cut_short(folder, kept, found):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"model.safetensors: found {found}; needed a model that"):
        backbone(str(folder))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 500\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [(POINTER, "git lfs pull"), ("<!DOCTYPE html><html>", "a web page"), ("", "an empty file")],
    ids=["git-lfs", "a page", "empty"],
)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_a_broken_download_leaves_in_the_place_of_a_file(folder, name, text, says):
    (folder / name).write_text(text)
    backbone_family.cache_clear()
    with pytest.raises(InputError) as caught:
        backbone(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: {name}: found ")
    assert says in message


def test_a_pointer_that_is_not_needed_is_no_fault(folder):
    """`git lfs pull --include=*.safetensors` leaves the others."""
    (folder / "pytorch_model.bin").write_text(POINTER)
    backbone_family.cache_clear()
    assert backbone(str(folder)).family == "decoder"


def test_a_link_to_another_file_is_read_as_a_model_or_not_at_all(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/passwd")
    for message in refused(folder):
        assert "root:" not in message
