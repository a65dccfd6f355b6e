"""What README and docs promise: files that exist, commands and options that exist."""

import re
import runpy
from pathlib import Path

import pytest

from adamergex.cli.commands import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    known = {}
    for name, command in cli.commands.items():
        inner = getattr(command, "commands", {}).values()  # of a group, such as store
        parameters = [p for c in (command, *inner) for p in c.params]
        known[name] = {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
    for line in re.findall(r"^ {4}adamergex (.+)$", text, re.MULTILINE):
        name, *words = line.split()
        assert name in known, line
        if name == "lm-eval":
            continue  # its options are lm_eval's own
        assert {w for w in words if w.startswith("--")} <= known[name] | {"--help"}, line
    options = {option for found in known.values() for option in found} | {"--help"}
    for option in re.findall(r"`(--[a-z0-9-]+)", text):
        assert option in options | {"--max-lora-rank"}, option


def test_tables_are_what_the_results_say():
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    assert any(tables["BLOCK"].search(text) for text in pages)
    for text in pages:
        assert tables["written"](text) == text


def test_the_tests_that_the_security_page_names_exist():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`", text)
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


def test_make_targets_named_in_the_readme_exist():
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
