"""`adamergex push`: what is refused before anything is sent, and what a server receives."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from adamergex import merge
from adamergex.cli import main
from tests.support.folders import edit_config, snapshot, three


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as making a repository and a commit asks for."""

    def do_GET(self):
        self.server.seen.append(("GET", self.path, b""))
        self.answer({})

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(("POST", self.path, content))
        if self.path.endswith("/repos/create"):
            self.answer({"url": f"{self.server.url}/org/name", "id": "org/name"})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.answer({"files": modes})
        elif "/commit/" in self.path:
            if self.server.refuses:
                self.answer({"error": "no"}, 403)
                return
            url = f"{self.server.url}/org/name/commit/{'0' * 40}"
            self.answer({"success": True, "commitUrl": url, "commitOid": "0" * 40})
        else:
            self.answer({"errors": [], "warnings": []})

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A server in the Hub's place, and what it was asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.seen, server.refuses = [], False
        server.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def adapter(tmp_path):
    inputs = three(tmp_path)
    merge(**inputs).save(tmp_path / "out")
    return tmp_path / "out"


def received(server):
    """Path -> content of the files in the one commit."""
    (body,) = (content for _, path, content in server.seen if "/commit/" in path)
    lines = [json.loads(line) for line in body.splitlines()]
    files = (line["value"] for line in lines if line["key"] == "file")
    return {each["path"]: base64.b64decode(each["content"]) for each in files}


def test_every_file_arrives(hub, adapter, capsys):
    assert main(["push", str(adapter), "org/name", "--private"]) == 0
    assert received(hub) == snapshot(adapter)
    (made,) = (json.loads(c) for _, path, c in hub.seen if path.endswith("/repos/create"))
    assert (made["name"], made["organization"]) == ("name", "org")
    # What the client calls it has changed between its versions.
    assert made.get("visibility") == "private" or made.get("private") is True
    assert "/org/name/commit/000" in capsys.readouterr().out


def test_a_dry_run_sends_nothing(hub, adapter, capsys):
    assert main(["push", str(adapter), "org/name", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "org/name: nothing sent (--dry-run)" in out
    assert all(name in out for name in snapshot(adapter))
    assert hub.seen == []


def test_a_hub_that_refuses_is_said_in_one_line(hub, adapter, capsys):
    hub.refuses = True
    assert main(["push", str(adapter), "org/name"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("adamergex: error: org/name: ")
    assert err.count("\n") == 1


def edited(name, text):
    return lambda folder: (folder / name).write_text(text)


FAULTS = {
    "base is a path": (
        lambda f: edit_config(f, base_model_name_or_path="/home/me/gemma"),
        "base_model_name_or_path: found /home/me/gemma",
    ),
    "base is a copy in a cache": (
        lambda f: edit_config(f, base_model_name_or_path="/x/gemma-3-270m-0123456789abcdef"),
        "base_model_name_or_path: found /x/gemma",
    ),
    "no base": (lambda f: edit_config(f, base_model_name_or_path=None), "needed the base's id"),
    "no card": (lambda f: (f / "README.md").unlink(), "needed a model card"),
    "no front matter": (edited("README.md", "# x\n"), "front matter: found none"),
    "bad front matter": (edited("README.md", "---\na: [\n---\n"), "front matter: found "),
    "a path in the card": (
        edited("README.md", "---\na: 1\n---\nseen\nin /home/me/runs\n"),
        "line 5: found /home/me/runs",
    ),
    "a windows path": (
        edited("README.md", "---\na: 1\n---\nC:\\Users\\me\n"), "needed no path of this",
    ),
    "code": (edited("model.py", "pass"), "found model.py"),
    "a folder": (lambda f: (f / "runs").mkdir(), "found runs"),
    "a link": (lambda f: (f / "a.json").symlink_to(f / "README.md"), "found a.json"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_for_others_is_not_sent(hub, adapter, capsys, spoil, said):
    spoil(adapter)
    assert main(["push", str(adapter), "org/name"]) == 2
    assert said in capsys.readouterr().err
    assert hub.seen == []


@pytest.mark.parametrize("name", ["name", "a/b/c", "../x", "org/na me", ""])
def test_a_name_that_is_no_repository(hub, adapter, capsys, name):
    assert main(["push", str(adapter), name]) == 2
    assert "needed ORG/NAME" in capsys.readouterr().err


def test_urls_are_no_paths_of_this_machine(hub, adapter):
    text = (adapter / "README.md").read_text() + "\nhttps://example.org/home/x and/or a/tmp\n"
    (adapter / "README.md").write_text(text)
    assert main(["push", str(adapter), "org/name", "--dry-run"]) == 0
