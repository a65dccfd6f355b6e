"""Adapters and commits on the Hugging Face Hub, which this machine plays: no test reaches it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest

from adamergex.checkpoint import open_checkpoint
from adamergex.checkpoint.hub import commit, pinned, resolved
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


ONE, OTHER = "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache on this machine, empty, and its folder of a repository's names."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit.cache_clear()

    def refs(repository, kind="models"):
        folder = tmp_path / f"{kind}--{repository.replace('/', '--')}" / "refs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    yield refs
    commit.cache_clear()


@pytest.fixture
def hub(monkeypatch, cache):
    """A Hub on this machine: path -> commit, and what it was asked for."""
    there, asked = {}, []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = there.get(self.path)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"id": "org/name", "sha": found}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    really = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: really(endpoint=endpoint))
    yield there, asked
    server.shutdown()
    server.server_close()


def test_the_commit_is_what_the_hub_says(hub):
    there, asked = hub
    there["/api/models/org/name"] = ONE
    there["/api/datasets/org/name"] = OTHER
    there["/api/models/org/name/revision/v2"] = OTHER
    assert commit("org/name", "model") == ONE
    assert commit("org/name", "dataset") == OTHER
    assert commit("org/name", "model", "v2") == OTHER
    there["/api/models/org/name"] = OTHER  # in the middle of a run, all of which reads the same
    assert commit("org/name", "model") == ONE
    assert len(asked) == 3
    commit.cache_clear()
    assert commit("org/name", "model") == OTHER


def test_what_the_hub_said_is_known_when_it_cannot_be_reached(hub, cache, monkeypatch):
    there, _ = hub
    there["/api/models/org/name"] = ONE
    assert commit("org/name", "model") == ONE
    commit.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert commit("org/name", "model") == ONE
    assert commit("org/other", "model") is None


def test_without_the_hub_it_is_the_caches(cache):
    (cache("org/name") / "main").write_text(ONE)
    (cache("org/data", "datasets") / "v2").write_text(OTHER)
    assert commit("org/name", "model") == ONE
    assert commit("org/data", "dataset", "v2") == OTHER
    assert commit("org/data", "dataset") is None
    assert commit("org/data", "model", "v2") is None
    assert commit("org/name", "model", OTHER) == OTHER  # which is one already


def test_what_there_is_not_has_none(hub):
    assert commit("org/no-such-model", "model") is None
    assert commit("org/name/with/more", "model") is None
    assert commit("", "dataset") is None


def test_without_huggingface_hub_there_is_none(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert commit("org/name", "model") is None


def test_a_model_is_pinned_to_its_commit(cache):
    (cache("org/name") / "main").write_text(ONE)
    (cache("org/name") / "v2").write_text(OTHER)
    (cache("gpt2") / "main").write_text(ONE)
    assert pinned("org/name") == f"org/name@{ONE}"
    assert pinned("org/name@v2") == f"org/name@{OTHER}"
    assert pinned(f"org/name@{OTHER}") == f"org/name@{OTHER}"
    assert pinned("gpt2") == f"gpt2@{ONE}"


@pytest.mark.parametrize("name", ["builtin:gemma-3-270m", "org/other", "org/name@v3", "/x/y", "."])
def test_what_has_no_commit_is_left_as_it_is(cache, name):
    (cache("org/name") / "main").write_text(ONE)
    assert pinned(name) == name
