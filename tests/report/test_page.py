"""report.html: one page that needs nothing else and says every number."""

import re
from html.parser import HTMLParser

import pytest

from adamergex.report.page import page_text
from adamergex.report.reading import checked
from tests.support.results import HOSTILE, hostile, named, results, row_of, with_means

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What stands in a page: its elements, its text; every element must be closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.rows, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text.append(data)
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += f" {data.strip()}"

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def row(self, *starts):
        """The only row whose first cell says just `starts`."""
        rows = [[cell.strip() for cell in row] for row in self.rows]
        return [row[1:] for row in rows if row and row[0].split() == " ".join(starts).split()]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def made(found):
    return Page(page_text(checked(found)))


@pytest.fixture(scope="module")
def text():
    return page_text(checked(results()))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_is_a_page(text, page):
    assert text.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert len(page.all("title")) == 1
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")] == [
        1, 2, 3, 3, 2, 3, 3, 2, 2,
    ]  # fmt: skip


def test_methods_by_languages(page):
    """The first row with a name is the overview's; a language's own table comes later."""
    overview, *_ = page.row("projection", "parallel text")
    assert [" ".join(cell.split()) for cell in overview] == [
        "0.534 ± 0.034 +0.068 [+0.010, +0.127] sd 0.011",
        "0.524 ± 0.034 +0.068 [+0.010, +0.127] sd 0.011",
    ]
    oracle, *_ = page.row("target-ft", "oracle")
    assert oracle[0].startswith("0.623 ± 0.034")
    assert page.row("majority class") == [["0.250", "0.250"]]
    assert page.row("chance") == [["0.143", "0.143"]]
    assert page.row("method")[0] == ["Swahili n = 204", "Yoruba n = 204"]


def test_bold_is_the_best_that_is_surely_better(text):
    assert re.findall(r"<b>([^<]*)</b>", text) == ["0.534 ± 0.034", "0.524 ± 0.034"]


def test_source_ft_is_marked_where_it_is_best(page):
    _, _, _, best, *_ = page.row("source-ft")
    assert " ".join(best[0].split()) == "0.412 ± 0.034 † sd 0.011"
    assert [cell.count("†") for row in page.rows for cell in row].count(1) == 2


def test_each_language_has_every_row_with_its_settings(page):
    found = results()
    for task in found["tasks"]:
        for row in task["rows"]:
            name = [row["method"], row["variant"]] + ["to deploy"] * row["headline"]
            score = f"{row['score']:.3f} ± {row['standard_error']:.3f}"
            (cells,) = [
                cells
                for cells in page.row(*name)
                if cells[0].startswith(score) and cells[-1].startswith("seed 0: ")
            ]
            for run in row["runs"]:
                setting = f"{run['setting']}, " if run["setting"] else ""
                assert f"seed {run['seed']}: {setting}{run['score']:.3f}" in cells[-1]
            if versus := row["versus_source_ft"]:
                ends = f"[{versus['low']:+.3f}, {versus['high']:+.3f}]"
                assert cells[1] == f"{versus['difference']:+.3f} {ends}"
            assert "0.011" in cells
            if row["gap_closed"] is not None and row["method"] != "zero-shot":
                assert f"{100 * row['gap_closed']:.0f}%" in cells
            for name, value in row["metrics"].items():
                assert name == task["metric"] or f"{name} {value:.3f}" in cells[0]


def test_verdicts_come_first(page):
    words = page.words
    assert words.index("Yoruba: AdaMergeX (translation, weight, t=0.5) cannot") < words.index(
        "n = "
    )
    assert "Swahili: AdaMergeX (seed 0: t=0.5; seed 1: t=1) is worse" in words


def test_source_score_costs_recipe_and_environment(page):
    words = page.words
    assert "In English, where its labels are, the task adapter scores 0.784 ± 0.029" in words
    assert page.row("train") == [["2", "149.5", "76,000", "3.35 GiB"]]
    assert page.row("total") == [["4", "162.5", "76,000", "3.35 GiB"]]
    steps = [row[0].strip() for row in page.rows[-4:]]
    assert steps == [
        "train translation, swh_Latn",
        "train task, eng_Latn",
        "score sib200, swh_Latn",
        "merge t=0.5",
    ]
    assert "lora # r is 8" in words
    for word in ("3.11.7", "Linux-6.1-x86_64", "2.60GHz, 2 cores", "24.0 GiB", "peft 0.19.0"):
        assert word in words


def test_the_recipe_keeps_its_lines(text):
    assert '<pre tabindex="0">model: google/gemma-3-270m\nadapter:\n  type: lora' in text


def test_geometry(page):
    assert page.row("translation")[0] == ["+0.310", "1.100", "+0.060"]
    assert page.row("causal-lm")[0] == ["+0.070", "1.500", "-0.002"]


def test_alignment_that_was_not_measured_and_a_cosine_that_is_not_defined():
    found = results()
    geometry = named(found)["geometry"]["swh_Latn"]
    geometry["causal-lm"]["alignment"] = None
    for relation in (geometry["translation"][key] for key in geometry["translation"]):
        relation |= {"cosine": None, "norm_ratio": None}
    page = made(found)
    assert page.row("causal-lm")[0][-1] == "not measured"
    assert page.row("translation")[0] == ["not defined"] * 3
    assert "None" not in page.words


def test_every_row_of_a_table_has_as_many_cells_as_its_head(page, text):
    for table in re.findall(r"<table>.*?</table>", text, flags=re.DOTALL):
        rows = Page(table).rows
        spans = sum(int(n) - 1 for n in re.findall(r'colspan="(\d+)"', table))
        assert sum(map(len, rows)) + spans == len(rows) * len(rows[0])


def test_columns_without_a_number_are_left_out():
    found = results(seeds=(0,))
    for task in found["tasks"]:
        for row in task["rows"]:
            row["versus_source_ft"] = row["gap_closed"] = None
    heads = {cell.strip() for row in made(found).rows for cell in row}
    assert not heads & {"sd over seeds", "against source-ft", "gap closed"}
    assert "chosen on dev" in heads
    assert "95%" not in made(found).words


def test_the_words_fit_how_settings_were_chosen():
    found = {**results(), "recipe": {"scale": {"select": "unlabelled"}}}
    words = made(found).words
    assert "chosen without labels" in words
    assert "score without labels" in words
    assert "dev accuracy" not in words
    assert "chosen on dev" not in words
    assert "dev accuracy" in made(results()).words


def test_nothing_is_fetched(page, text):
    """No address but those of XML name spaces, which nothing opens; no script, no import."""
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "img", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if not name.startswith("xmlns"):
                assert "://" not in (value or ""), (tag, name)
            if name in {"href", "xlink:href", "src"}:
                assert value.startswith(("#", "data:"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_figures_are_named_and_identifiers_are_used_once(page, text):
    figures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(figures) == 4  # two languages of the first task; the second has neither
    assert all(figure["aria-label"] for figure in figures)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    used = re.findall(r'(?:xlink:href="|url\()#([^")]+)', text)
    assert used
    assert set(used) <= set(ids)


def test_the_curves_show_every_row_that_has_one(page):
    for label in ("arimerge (causal-lm)", "adamergex (translation, weight)"):
        assert label in page.words
    assert "Where AriMerge has t, T's coefficient is 1 - 0.16 t" in page.words


def test_names_are_text_and_never_markup(text):
    found = hostile()
    raw = page_text(checked(found))
    page = Page(raw)
    assert page.all("script") == []
    assert "<script" not in raw
    assert page.words.count(HOSTILE) > 50
    assert f"{HOSTILE}</pre>" in page.words  # the recipe ends where the page says
    plain = Page(text)
    for tag in ("table", "tr", "td", "svg", "h2", "pre"):
        assert len(page.all(tag)) == len(plain.all(tag))


def test_a_language_that_a_task_lacks():
    found = results()
    task = named(found)
    task["rows"] = [row for row in task["rows"] if row["target"] == "yor_Latn"]
    for part in ("n_test", "majority", "geometry"):
        del task[part]["swh_Latn"]
    page = made(found)
    assert "Swahili: no row is marked" in page.words
    assert page.row("majority class") == [["–", "0.250"]]
    assert page.row("zero-shot")[0][0] == "–"
    assert row_of(found, "zero-shot", target="yor_Latn")


def test_the_overview_ends_with_the_mean_where_there_is_one():
    page = Page(page_text(checked(with_means(results()))))
    heads = [row for row in page.rows if row and row[0].strip() == "method" and len(row) > 2]
    assert heads[0][-1].strip() == "mean"
    (line,) = (row for row in page.rows if row and "zero-shot" in row[0] and len(row) == 4)
    assert "0.191" in line[-1]
