"""report.html: one page that needs nothing else and says every number."""

from html.parser import HTMLParser

import pytest

from adamergex.report import write_page
from adamergex.run.results import assembled
from tests.support.results import ALIGNMENTS, experiment

NAMES = {"fa": "Persian", "tr": "Turkish"}
HOSTILE = "<script>alert(1)</script>\"'&"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What stands in a page: its elements, its text; every element must be closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside != "style":
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def written(tmp_path, results, names=NAMES):
    path = tmp_path / "report.html"
    write_page(path, results, names)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results():
    return assembled(*experiment())


@pytest.fixture(scope="module")
def text(results, tmp_path_factory):
    return written(tmp_path_factory.mktemp("page"), results)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_is_a_page(text, page):
    assert text.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert len(page.all("title")) == 1
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def test_every_number_is_there(page, results):
    for row in results["rows"]:
        assert f"{row['accuracy']:.3f} ± {row['standard_error']:.3f}" in page.words
        if row["method"] != "zero-shot":  # it has no labels at all: a share means nothing
            assert f"{100 * row['gap_closed']:.0f}%" in page.words
        if versus := row.get("versus_source_ft"):
            low, high = versus["low"], versus["high"]
            assert f"{versus['difference']:+.3f} [{low:+.3f}, {high:+.3f}]" in page.words
        if "setting" in row:
            assert row["setting"] in page.words
    for name, alignment in ALIGNMENTS.items():
        assert f"{name} {alignment:+.3f}" in page.words
    source = results["source"]
    assert f"{source['accuracy']:.3f} ± {source['standard_error']:.3f}" in page.words
    for number in ("0.125", "0.275", "40 items"):
        assert number in page.words


def test_every_row_has_its_five_cells(page, results):
    assert len(page.all("td")) == 5 * len(results["rows"])
    assert len(page.all("tr")) == len(results["rows"]) + len(results["targets"])
    assert len([row for row in page.all("tr") if row.get("class") == "chosen"]) == 2


def test_every_language_has_its_name(page):
    assert "Persian" in page.words
    assert "Turkish" in page.words


def test_nothing_is_fetched(page, text):
    """No address but those of XML name spaces, which nothing opens; no script, no import."""
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "img", "object", "embed", "base"}
        for name, value in attributes.items():
            if not name.startswith("xmlns"):
                assert "://" not in (value or ""), (tag, name)
            if name in {"href", "xlink:href", "src"}:
                assert value.startswith(("#", "data:"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_figures_are_named_and_take_the_size_and_colour_of_the_page(page, text):
    figures = page.all("svg")
    assert len(figures) == 4
    for figure in figures:
        assert figure["role"] == "img"
        assert figure["aria-label"]
        assert "width" not in figure
        assert "height" not in figure
        assert figure["viewbox"]
    assert "currentColor" in text
    assert "#010203" not in text


def test_identifiers_are_not_used_twice_with_different_meanings(page):
    """Figures share the page: a reference must find a definition that is there."""
    defined = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    for _, attrs in page.elements:
        target = attrs.get("xlink:href") or ""
        assert not target.startswith("#") or target[1:] in defined


def test_the_curves_show_every_reference(page):
    for label in ("add-reference: translation", "adamergex: translation, weight"):
        assert label in page.words


def test_the_same_results_give_the_same_bytes(tmp_path, results, text):
    assert written(tmp_path, results) == text


def test_names_are_text_and_never_markup(tmp_path):
    config, records = experiment(("fa",))
    for row in config["rows"]:
        row["variant"] = row["variant"] and f"{row['variant']} {HOSTILE}"
    for name in [key for key in records if key.startswith("select")]:
        records[name]["setting"] = HOSTILE
    results = assembled(config, records)
    results["geometry"]["fa"][HOSTILE] = results["geometry"]["fa"].pop("translation")
    text = written(tmp_path, results, {"fa": HOSTILE})
    page = Page(text)
    assert page.all("script") == []
    assert "<script" not in text
    assert page.words.count("<script>alert(1)</script>") > len(results["rows"])


def test_a_gap_that_is_not_there_and_a_cosine_that_is_not_defined(tmp_path):
    """An oracle no better than T; a reference that was not trained at all."""
    config, records = experiment(("fa",))
    records["test.2"] = records["test.1"]
    geometry = records["geometry.fa.translation"]
    for relation in (geometry[k] for k in ("references", "divergence_to_task", "alignment")):
        relation["cosine"] = None
        for point in relation["by_layer"]:
            point["cosine"] = None
    page = Page(written(tmp_path, assembled(config, records)))
    assert "%" not in page.words.replace("95%", "")
    assert "None" not in page.words
