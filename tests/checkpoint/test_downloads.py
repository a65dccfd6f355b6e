"""What lies in a file's place where a download did not come through, each told in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from tests.support.folders import write_lora

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 161533192\n"
OLD = "version https://hawser.github.com/spec/v1\noid sha256:{}\nsize 161533192\n"
PAGES = [
    "<!DOCTYPE html>\n<html><head><title>404</title></head></html>",
    "\n  <html lang='en'>not found</html>",
    "\ufeff<!doctype html><p>log in",
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>',
]
FILES = [CONFIG, WEIGHTS, PICKLE]


@pytest.fixture
def folder(tmp_path):
    return write_lora(tmp_path)


def refused(folder, name, content):
    if name == PICKLE:
        (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / name}: found ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pointer", [POINTER, OLD], ids=["git-lfs", "hawser"])
def test_a_git_lfs_pointer(folder, name, pointer):
    message = refused(folder, name, pointer.format("ab" * 32))
    assert "git-lfs pointer" in message
    assert "git lfs pull" in message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("page", PAGES, ids=range(len(PAGES)))
def test_a_web_page(folder, name, page):
    assert "a web page" in refused(folder, name, page)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file(folder, name):
    assert "an empty file" in refused(folder, name, b"")


@pytest.mark.parametrize(
    "text", ["Entry not found", "Access to model x/y is restricted", '{"error": "not found"}']
)
def test_a_servers_answer_in_place_of_weights(folder, text):
    message = refused(folder, WEIGHTS, text)
    assert "a text" in message
    assert text[:9] in message.replace("\\", "")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_weights_that_were_cut_short_say_how_far_they_go(folder, share):
    content = (folder / WEIGHTS).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    kept = int(header + share * (len(content) - header))
    message = refused(folder, WEIGHTS, content[:kept])
    assert f"the first {kept} of {len(content)} bytes" in message


def test_weights_that_end_within_the_header(folder):
    content = (folder / WEIGHTS).read_bytes()
    assert "fewer than its header has" in refused(folder, WEIGHTS, content[:40])


def test_a_config_that_was_cut_short(folder):
    content = (folder / CONFIG).read_text()
    assert json.loads(content)
    assert "needed JSON" in refused(folder, CONFIG, content[: len(content) // 2])


def test_a_pickle_that_was_cut_short(folder):
    torch.save(load_file(folder / WEIGHTS), folder / PICKLE)
    (folder / WEIGHTS).unlink()
    content = (folder / PICKLE).read_bytes()
    (folder / PICKLE).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="needed a pickled state dictionary"):
        open_checkpoint(folder, allow_pickle=True)
