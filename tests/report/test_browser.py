"""report.html in a real browser: headless Chromium by its own command line, where there is one."""

import html
import json
import re
import shutil
import struct
import subprocess

import pytest

from adamergex.report import write_report
from tests.support.results import HOSTILE, hostile, results, write

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="NOT TESTED: no Chromium on the PATH, so that report.html was opened in no browser "
    "(Debian: apt-get install chromium)",
)

PHONE = 390
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--v=0",
)
# A window is never as narrow as a phone; a frame is. It is looked at from outside, because the
# page lets no script run.
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe src="report.html" style="border:0;width:{width}px;height:900px"></iframe>
<script>
onload = () => {{
  const page = frames[0].document, root = page.documentElement;
  for (const part of page.querySelectorAll("details")) part.open = true;
  const colour = (at, name) => frames[0].getComputedStyle(page.querySelector(at))[name];
  const outside = (e) => e.getBoundingClientRect().right > root.clientWidth + 0.5
    && !e.closest(".scroll, pre");
  const figure = page.querySelector("figure > svg");
  document.body.textContent = JSON.stringify({{
    inner: frames[0].innerWidth, width: root.scrollWidth, body: page.body.scrollWidth,
    outside: [...page.body.querySelectorAll("*")].filter(outside).map((e) => e.outerHTML),
    scrolling: [...page.querySelectorAll(".scroll")]
      .filter((e) => e.scrollWidth > e.clientWidth).length,
    paper: colour("body", "backgroundColor"), ink: colour("body", "color"),
    faint: colour(".faint", "color"),
    tick: figure && colour("figure > svg text", "fill"),
    figure: figure && figure.getBoundingClientRect().width,
    letters: figure && figure.querySelector("text").getBoundingClientRect().height,
    text: page.body.innerText, scripts: page.scripts.length,
  }});
}};
</script>
"""


def run(folder, profile, *arguments):
    """Runs the browser; returns what it dumped, and what it said on its console."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, cwd=folder
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module", params=["plain", "hostile"])
def folder(request, tmp_path_factory):
    found = hostile() if request.param == "hostile" else results()
    made = write(tmp_path_factory.mktemp(request.param), found)
    write_report(made)
    return made


def seen(folder, tmp_path, width=PHONE, dark=False):
    """What the page looks like from outside, in a frame of that width."""
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    address = (folder / "frame.html").as_uri()
    dumped, console = run(folder, tmp_path / "profile", scheme, "--dump-dom", address)
    assert console == []
    return json.loads(html.unescape(re.search(r"<body[^>]*>(.*)</body>", dumped, re.DOTALL)[1]))


@pytest.mark.parametrize("width", [PHONE, 1200])
def test_nothing_is_wider_than_the_page(folder, tmp_path, width):
    page = seen(folder, tmp_path, width)
    assert page["inner"] == width
    assert max(page["width"], page["body"]) <= width
    assert page["outside"] == []
    if width == PHONE:
        assert page["scrolling"] >= 3  # wide tables scroll inside their own box
        assert page["figure"] >= 0.85 * PHONE
        assert page["letters"] >= 9


def test_what_is_there_can_be_seen(folder, tmp_path):
    page = seen(folder, tmp_path)
    words = " ".join(page["text"].split())
    for word in ("0.534 ± 0.034", "+0.068 [+0.010, +0.127]", "majority class", "t=0.5, 0.503",
                 "peak memory", "lora # r is 8", "cannot be told apart"):  # fmt: skip
        assert word in words
    assert page["scripts"] == 0
    assert (HOSTILE in page["text"]) == (folder.name.startswith("hostile"))


def luminance(colour):
    """Relative luminance of `rgb(...)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_can_both_be_read(folder, tmp_path, dark):
    page = seen(folder, tmp_path, dark=dark)
    paper = luminance(page["paper"])
    assert (paper < 0.1) == dark
    assert page["tick"] == page["ink"]
    for ink in (page["ink"], page["faint"]):
        light, deep = sorted((luminance(ink), paper), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5


def test_the_page_itself_says_nothing_on_the_console(folder, tmp_path):
    address = (folder / "report.html").as_uri()
    dumped, console = run(folder, tmp_path / "profile", "--dump-dom", address)
    assert console == []
    assert "Cross-lingual transfer" in dumped


def test_a_picture_can_be_taken(folder, tmp_path):
    picture = tmp_path / "page.png"
    address = (folder / "report.html").as_uri()
    run(folder, tmp_path / "profile", "--window-size=1200,900", f"--screenshot={picture}", address)
    content = picture.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1200, 900)
    assert len(content) > 20_000  # an empty page has a fifth of that


def test_what_goes_wrong_would_be_noticed(tmp_path):
    """The checks above can fail: a wide page is seen as wide, and a console error is heard."""
    wide = '<body class="faint"><p style="width:600px">wide</p></body>'
    (tmp_path / "report.html").write_text(f"<!doctype html>{wide}", encoding="utf-8")
    page = seen(tmp_path, tmp_path)
    assert page["width"] > PHONE
    assert len(page["outside"]) == 1
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('heard')</script>", encoding="utf-8")
    _, console = run(tmp_path, tmp_path / "profile", "--dump-dom", bad.as_uri())
    assert "heard" in " ".join(console)


def test_the_page_lets_no_script_run(folder, tmp_path):
    """Were a name to slip through unescaped, the page's own policy would still stop it."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    slipped = tmp_path / "slipped.html"
    added = "<script>document.title = 'ran'</script></body>"
    slipped.write_text(text.replace("</body>", added), encoding="utf-8")
    dumped, console = run(folder, tmp_path / "profile", "--dump-dom", slipped.as_uri())
    assert "<title>ran" not in dumped
    assert "Content Security Policy" in " ".join(console)
