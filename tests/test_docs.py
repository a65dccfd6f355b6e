"""What README and docs promise: files that exist, commands and options that exist."""

import re
import runpy
from pathlib import Path

import pytest

from adamergex.cli.commands import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
COMMAND = re.compile(r"^ {4}adamergex (.+)$", re.MULTILINE)
OPTION = re.compile(r"`(--[a-z0-9-]+)")
OF_OTHERS = {"--max-lora-rank", "--help"}


def found_in(pattern):
    """The pages with what there is to check, each with all of it."""
    texts = {page: page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES}
    found = {page: pattern.findall(text) for page, text in texts.items()}
    return [pytest.param(page, all_, id=page.name) for page, all_ in found.items() if all_]


@pytest.fixture(scope="module")
def options():
    """Those of each command, and of its own commands if it is a group, such as store."""
    known = {}
    for name, command in cli.commands.items():
        inner = getattr(command, "commands", {}).values()
        parameters = [p for c in (command, *inner) for p in c.params]
        known[name] = {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
    return known


@pytest.mark.parametrize(("page", "links"), found_in(LINK))
def test_links_within_the_repository_lead_somewhere(page, links):
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize(("page", "lines"), found_in(COMMAND))
def test_commands_that_are_shown_exist(page, lines, options):
    for line in lines:
        name, *words = line.split()
        assert name in options, line
        if name != "lm-eval":  # whose options are lm_eval's own
            assert {w for w in words if w.startswith("--")} <= options[name] | OF_OTHERS, line


@pytest.mark.parametrize(("page", "named"), found_in(OPTION))
def test_options_that_are_named_exist(page, named, options):
    assert {*named} <= set().union(*options.values()) | OF_OTHERS


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
