"""Methods by languages: which cell is bold, which is marked, which is empty."""

from hypothesis import given
from hypothesis import strategies as st

from adamergex.report.overview import floor, lines
from adamergex.report.reading import checked
from tests.support.results import named, results, row_of, with_means


def table(found, task="sib200"):
    read = checked(found)
    part = next(t for t in read.tasks if t.task == task)
    return {(line.method, line.variant): line for line in lines(read, part)}


def bold(found):
    return {key for key, line in table(found).items() if line.cells[0].bold}


def marked(found, task="sib200"):
    return {key for key, line in table(found, task).items() if line.cells[0].baseline_best}


def test_each_method_and_variant_has_one_line_and_oracles_are_last():
    found = table(results())
    assert list(found)[-1] == ("target-ft", "oracle")
    assert len(found) == len({(r["method"], r["variant"]) for r in named(results())["rows"]})
    assert all(len(line.cells) == 2 for line in found.values())
    assert [key for key, line in found.items() if line.headline] == [("adamergex", "best on dev")]


def test_the_best_is_bold_where_its_interval_excludes_0():
    found = results()
    assert bold(found) == {("projection", "parallel text")}
    row_of(found, "projection", "parallel text")["versus_source_ft"]["low"] = 0.0
    assert bold(found) == set()


def test_a_row_that_is_surely_better_but_not_best_is_not_bold():
    found = results()
    row_of(found, "adamergex", "best on dev")["versus_source_ft"]["low"] = 0.01
    assert bold(found) == {("projection", "parallel text")}


def test_the_oracle_is_no_rival():
    found = table(results())
    assert not found["target-ft", "oracle"].cells[0].bold


def test_where_lower_is_better_the_lowest_is_best():
    found = results()
    named(found)["higher_is_better"] = False
    assert bold(found) == {("zero-shot", "")}


def test_source_ft_is_marked_where_it_is_best():
    assert marked(results(), "answers") == {("source-ft", "")}
    found = results()
    assert marked(found) == set()
    row_of(found, "projection", "parallel text")["score"] = 0.4
    row_of(found, "adamergex", "best on dev")["score"] = 0.466
    row_of(found, "adamergex", "translation, weight")["score"] = 0.466
    # It shares the first place with the rows that chose to leave it as it is.
    assert marked(found) == {("source-ft", "")}
    assert bold(found) == set()


def test_a_method_that_a_language_lacks_leaves_its_cell_empty():
    found = results()
    rows = named(found)["rows"]
    rows.remove(row_of(found, "projection", "parallel text", "yor_Latn"))
    rows.remove(row_of(found, "zero-shot"))
    cells = table(found)
    assert [c is None for c in cells["projection", "parallel text"].cells] == [False, True]
    assert [c is None for c in cells["zero-shot", ""].cells] == [True, False]


def test_what_takes_no_skill():
    read = checked(results())
    assert floor(read, read.tasks[0]) == [
        ("majority class", ["0.250", "0.250"]),
        ("chance", ["0.143", "0.143"]),
    ]
    assert floor(read, read.tasks[1]) == []


def test_the_mean_is_the_last_column():
    found = with_means(results())
    read = checked(found)
    cells = {key: line.cells for key, line in table(found).items()}
    assert {len(row) for row in cells.values()} == {3}
    assert [key for key, row in cells.items() if row[-1].bold] == [("projection", "parallel text")]
    assert [key for key, row in cells.items() if row[-1].headline] == [("adamergex", "best on dev")]
    assert cells["zero-shot", ""][-1].score == "0.191 ± 0.034"
    named(found)["majority"]["yor_Latn"] = 0.35
    assert floor(checked(found), checked(found).tasks[0])[0][1] == ["0.250", "0.350", "0.300"]
    assert all(len(line.cells) == 2 for line in lines(read, read.tasks[1]))


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=8, max_size=8), st.booleans())
def test_bold_is_a_best_score_with_an_interval_off_0(scores, higher):
    found = results(("swh_Latn",))
    task = named(found)
    task["higher_is_better"] = higher
    for row, score in zip(task["rows"], scores, strict=True):
        row["score"] = score
    fair = [row for row in task["rows"] if row["method"] != "target-ft"]
    top = (max if higher else min)(row["score"] for row in fair)
    surely = "low" if higher else "high"
    sign = 1 if higher else -1
    for row in fair:
        versus = row["versus_source_ft"]
        expected = row["score"] == top and versus is not None and sign * versus[surely] > 0
        cell = table(found)[row["method"], row["variant"]].cells[0]
        assert cell.bold == expected
