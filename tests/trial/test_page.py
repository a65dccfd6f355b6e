"""The page of `adamergex try`: what it is bound to, what it shows, and that a browser shows it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from adamergex.errors import InputError
from adamergex.trial import Entry
from tests.report.test_browser import BROWSER, FLAGS
from tests.support.folders import write_lora
from tests.support.models import QUIET
from tests.trial.test_trial import CHOICES, PROMPT, folders  # noqa: F401 - a fixture

gr = pytest.importorskip("gradio", reason="NOT TESTED: no Gradio (pip install 'adamergex[try]')")

pytestmark = [pytest.mark.slow, QUIET]


ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def test_it_shows_what_was_computed(tiny_folder, folders):  # noqa: F811
    from adamergex.trial.page import asked

    three, one = (Entry("", str(tiny_folder), folders[:n]) for n in (3, 1))
    lines = "Food\n\nEmotion and joy \nTravel"
    base, task, merged, *texts = asked(three, 1.0, PROMPT, lines, True)
    for found in (base, task, merged):
        assert sorted(found) == sorted(CHOICES)
        assert sum(found.values()) == pytest.approx(1)
    assert merged != pytest.approx(task, abs=1e-3)
    assert not any(text["visible"] for text in texts)
    assert asked(three, 0.0, PROMPT, lines, True)[2] == pytest.approx(task, abs=1e-5)
    same = [base, None, pytest.approx(base, abs=1e-5)]
    assert asked(one, 0.0, PROMPT, lines, True)[:3] == same
    unspaced = asked(three, 1.0, PROMPT, lines, False)[0]
    assert {*unspaced} == {choice.strip() for choice in CHOICES}
    *_, text = asked(three, 1.0, PROMPT, "", True)
    assert text["visible"]
    assert text["value"]
    with pytest.raises(gr.Error, match="prompt: found nothing; needed text"):
        asked(three, 1.0, "", "", True)


def test_adapters_that_do_not_fit_are_found_before_there_is_a_page(tiny_folder, folders, tmp_path):  # noqa: F811
    from adamergex.trial.page import serve

    other = write_lora(tmp_path / "other")
    with pytest.raises(InputError, match="other: "):
        serve([Entry("", str(tiny_folder), (folders[0], other))], None, print)


@pytest.mark.skipif(BROWSER is None, reason="NOT TESTED: no Chromium on the PATH")
def test_it_is_for_this_machine_alone_and_a_browser_shows_it(folders):  # noqa: F811
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "adamergex", "try", str(folders[0]), "--port", str(port)]
    opened = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SHARE": "True"}  # which we overrule
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=os.environ | opened, **options) as server:
        try:
            address = f"http://127.0.0.1:{port}/"
            assert server.stdout.readline() == f"{address}\n"
            with socket.socket() as other:  # another address of this machine: nothing is there
                assert other.connect_ex(("127.0.0.2", port)) != 0
            with urllib.request.urlopen(f"{address}config") as answer:
                config = json.load(answer)
            assert not config["analytics_enabled"]
            shown = subprocess.run(
                [BROWSER, *FLAGS, ONLY_HERE, "--virtual-time-budget=30000", "--dump-dom", address],
                capture_output=True, text=True, timeout=300, check=True,
            ).stdout  # fmt: skip
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130)
    # The page's description stands in a script: what is looked for was drawn from it.
    shown = re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL)
    for text in ("Ask", "Base model", "Merged, at t", "Choices, one a line"):
        assert text in shown
    assert "T, the task adapter" not in shown  # a single adapter has none
    assert "fonts.googleapis" not in shown
