"""CSV, Markdown and LaTeX say every number, and every name as text."""

import csv
import html
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.report.export import csv_text, latex, latex_text, markdown, markdown_text
from adamergex.report.reading import checked
from tests.support.results import HOSTILE, hostile, named, results, row_of, with_means

NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]))


def read_csv(found):
    return list(csv.DictReader(io.StringIO(csv_text(checked(found)))))


def test_csv_has_a_line_for_each_task_target_method_variant_and_seed():
    found = results()
    table = read_csv(found)
    names = ("task", "target", "method", "variant", "seed")
    expected = [
        (task["task"], row["target"], row["method"], row["variant"], str(run["seed"]))
        for task in found["tasks"]
        for row in task["rows"]
        for run in row["runs"]
    ]
    assert [tuple(line[name] for name in names) for line in table] == expected
    assert len(table) == 2 * (2 * 8 + 2 * 2)


def test_csv_numbers_are_those_of_the_results():
    found = results()
    runs = [
        (task, row, run) for task in found["tasks"] for row in task["rows"] for run in row["runs"]
    ]
    for line, (task, row, run) in zip(read_csv(found), runs, strict=True):
        assert line["language"] == found["languages"][row["target"]]
        assert line["metric"] == task["metric"]
        assert float(line["score"]) == run["score"]
        assert line["setting"] == (run["setting"] or "")
        assert line["scale"] == ("" if run["scale"] is None else str(run["scale"]))
        assert float(line["row_score"]) == row["score"]
        assert float(line["row_standard_error"]) == row["standard_error"]
        assert float(line["row_seed_sd"]) == row["seed_sd"]
        assert int(line["n"]) == row["n"]
        assert line["headline"] == str(row["headline"])
        for column, key in (
            ("versus_source_ft", "difference"),
            ("versus_low", "low"),
            ("versus_high", "high"),
        ):
            value = row["versus_source_ft"] and row["versus_source_ft"][key]
            assert line[column] == ("" if value is None else str(value))
        assert line["gap_closed"] == ("" if row["gap_closed"] is None else str(row["gap_closed"]))
        assert {line[name] for name in ("versus_p", "versus_p_holm", "gap_low", "gap_high")} == {""}
        for name in ("acc", "acc_norm", "f1"):
            assert line[f"metrics.{name}"] == str(row["metrics"].get(name, ""))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "\t=", "\r\n@", " -"])
def test_no_cell_of_the_csv_is_a_formula(start):
    found = results()
    name = f"{start}HYPERLINK(1)"
    row_of(found, "projection", "parallel text").update(method=name, variant=name)
    found["languages"]["swh_Latn"] = named(found)["metric"] = f"{start}1+1"
    found["tasks"][0]["task"] = f"{start}cmd|' /C calc'!A0"
    found["tasks"][0]["rows"][1]["metrics"][f"{start}1"] = 0.5
    text = csv_text(checked(found))
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    for cell in cells:
        number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell)
        assert number or not cell.lstrip().startswith(("=", "+", "-", "@", "＝")), cell
    assert sum("HYPERLINK" in cell for cell in cells) == 4


def test_csv_keeps_quotes_commas_and_markup():
    found = hostile()
    found["languages"]["yor_Latn"] = 'a,"b";c'
    table = read_csv(found)
    assert {line["language"] for line in table} == {HOSTILE, 'a,"b";c'}
    assert {f"{HOSTILE}sib200", "answers"} == {line["task"] for line in table}
    assert {len(line) for line in table} == {26}


def cells_of(line):
    """The cells of a Markdown table's line; an escaped pipe parts nothing."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text):
    parts = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    return [[cells_of(line) for line in part.splitlines() if line[:1] == "|"] for part in parts]


@pytest.mark.parametrize("made", [results, hostile])
def test_markdown_has_methods_by_languages(made):
    found = made()
    first, second = tables(markdown_text(checked(found)))
    assert {len(cells) for cells in first + second} == {3}
    methods = len(named(found, found["tasks"][0]["task"])["rows"]) // 2
    assert len(first) == 2 + methods + 2
    assert len(second) == 2 + 2


def test_markdown_says_every_number_and_what_is_best():
    found = results()
    text = markdown_text(checked(found))
    first, second = tables(text)
    by_name = {cells[0]: cells[1] for cells in first}
    assert by_name["projection (parallel text)"] == (
        "**0.534 ± 0.034**<br>+0.068 [+0.010, +0.127]<br>sd 0.011"
    )
    assert by_name["source-ft"] == "0.466 ± 0.034<br>sd 0.011"
    assert by_name["adamergex (best on dev, to deploy)"].startswith("0.500 ± 0.034<br>+0.034")
    assert by_name["target-ft (oracle)"].startswith("0.623 ± 0.034<br>")
    assert by_name["majority class"] == "0.250"
    assert by_name["chance"] == "0.143"
    assert second[2][1] == "0.412 ± 0.034 †<br>sd 0.011"
    assert first[0][1:] == ["Swahili (n = 204)", "Yoruba (n = 204)"]
    for task in found["tasks"]:
        assert all(f"{row['score']:.3f} ± 0.034" in text for row in task["rows"])


@given(NAMES)
def test_markdown_names_are_text(name):
    written = markdown(name)
    assert not re.search(r"(?<!\\)[`*_\[\]|~$]", re.sub(r"\\\\", "", written))
    assert "<" not in written
    assert ">" not in written
    assert html.unescape(re.sub(r"\\([\\`*_\[\]|~$#!])", r"\1", written)) == name


SPECIAL = re.compile(r"(?<!\\)[$&#_%~^<>|]")


def bare(text):
    """LaTeX without what stands for one character."""
    return re.sub(r"\\(text\w+\{\}|[{}$&#_%])|\$\\pm\$|\$\^\{\\dagger\}\$|\{[\[*]\}", "", text)


@given(NAMES)
def test_latex_names_are_text(name):
    left = bare(latex(name))
    assert not re.search(r"[\\{}$&#_%~^<>|\[*]", left)


@given(st.text("\\{}$&#_%~^<>|[*ab"))
def test_latex_loses_no_character(name):
    back = {
        "\\textbackslash{}": "\\", "\\textasciitilde{}": "~", "\\textasciicircum{}": "^",
        "\\textless{}": "<", "\\textgreater{}": ">", "\\textbar{}": "|", "{[}": "[", "{*}": "*",
        **{f"\\{c}": c for c in "{}$&#_%"},
    }  # fmt: skip
    pattern = "|".join(map(re.escape, back))
    assert re.sub(pattern, lambda m: back[m[0]], latex(name)) == name


@pytest.mark.parametrize("made", [results, hostile])
def test_latex_is_well_formed(made):
    text = latex_text(checked(made()))
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text.replace("\\textbackslash{}", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"(?<!\\)[#_~]", text)
    for line in text.splitlines()[1:]:
        assert not re.search(r"(?<!\\)%", line)
        assert not line.startswith(("[", "*"))
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0


def test_latex_says_every_number_and_sets_the_oracle_apart():
    text = latex_text(checked(results()))
    assert "\\textbf{0.534 $\\pm$ 0.034}" in text
    assert text.count("\\textbf{") == 2
    assert "0.412 $\\pm$ 0.034$^{\\dagger}$" in text
    assert "{\\scriptsize $-$0.270 {[}$-$0.343, $-$0.196], sd 0.011}" in text
    fair, oracle, floor = text.split("\\end{tabular}")[0].split("\\midrule")[1:]
    assert "target-ft (oracle)" in oracle
    assert "target-ft" not in fair
    assert "majority class & 0.250 & 0.250 \\\\" in floor
    assert "chance & 0.143" in floor


def test_tables_end_with_the_mean_where_there_is_one():
    read = checked(with_means(results()))
    first, second = (part.splitlines() for part in markdown_text(read).split("### ")[1:])
    assert first[2].endswith("| mean |")
    assert {line.count("|") for line in first if line.startswith("|")} == {5}
    assert not second[2].endswith("| mean |")
    tables = latex_text(read).split("\\begin{table}")[1:]
    assert r"{lrrr}" in tables[0]
    assert r"& mean \\" in tables[0]
    assert r"{lrr}" in tables[1]
    rows = [line for line in tables[0].splitlines() if line.endswith(r" \\")]
    assert {line.count(" & ") for line in rows} == {3}
