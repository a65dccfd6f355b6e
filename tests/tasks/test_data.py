"""Texts that must be parallel, and answers that become training rows."""

import pytest

from adamergex.errors import InputError
from adamergex.tasks import Example, examples, file_source, questions

CHOICE = {
    "task": "t", "output_type": "multiple_choice", "doc_to_text": "{{text}} =",
    "doc_to_choice": ["a", "b"], "doc_to_target": "label", "metric_list": [{"metric": "acc"}],
}  # fmt: skip
FREE = {
    "task": "t", "output_type": "generate_until", "doc_to_text": "{{text}}:",
    "target_delimiter": "\n", "doc_to_target": "answer",
    "metric_list": [{"metric": "exact_match"}],
}  # fmt: skip


def text(folder, name, lines, most=None):
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    source, path = file_source(name, folder)
    return {"source": source, "column": "text", "max_samples": most}, {source["file"]: path}


def described(folder, found, written, most, **more):
    lines, files = text(folder, "sw.txt", found, most)
    source, others = text(folder, "en.txt", written, most)
    return {"lines": lines, "source_lines": source, **more}, files | others


TRANSLATION = {"rows": "reference", "reference": "translation", "into": "English"}
PROJECTED = {"rows": "unlabelled", "task": CHOICE, "field": "text"}


@pytest.mark.parametrize("most", [None, 10])
@pytest.mark.parametrize("kind", [TRANSLATION, PROJECTED])
def test_a_line_too_few_is_found_whatever_is_drawn(tmp_path, kind, most):
    """Otherwise every pair after the missing line would be of two different sentences."""
    wanted, files = described(
        tmp_path, [f"sw {i}" for i in range(99)], [f"en {i}" for i in range(100)], most, **kind
    )
    with pytest.raises(InputError, match=r"sw\.txt: lines: found 99; needed 100, as in the source"):
        examples(wanted, files, [0] * 10)


def test_of_parallel_texts_the_same_lines_are_drawn(tmp_path):
    wanted, files = described(
        tmp_path, [f"sw {i}" for i in range(50)], [f"en {i}" for i in range(50)], 7, **TRANSLATION
    )
    found = examples(wanted, files)
    assert len(found) == 7
    for row in found:
        number = row.completion.removeprefix(" en ")
        assert row.prompt == f"sw {number} in English:"


@pytest.mark.parametrize("second", ['{"text": null}', '{"text": NaN}', '{"words": "y"}'])
def test_a_row_without_text_is_named(tmp_path, second):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x"}}\n{second}\n')
    source, path = file_source("a.jsonl", tmp_path)
    lines = {"source": source, "column": "text", "max_samples": None}
    wanted = {"rows": "reference", "reference": "causal-lm", "lines": lines}
    with pytest.raises(InputError, match=r"a\.jsonl: row 1, text: found null"):
        examples(wanted, {source["file"]: path})


@pytest.mark.parametrize("kind", [TRANSLATION, PROJECTED])
def test_a_line_that_is_no_text_may_be_left_out_with_its_pair(tmp_path, kind):
    wanted, files = described(tmp_path, "abc", "xyz", None, **kind)
    (tmp_path / "sw.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": "c"}\n')
    source, path = file_source("sw.jsonl", tmp_path)
    wanted["lines"] |= {"source": source, "bad_rows": "skip"}
    found = examples(wanted, files | {source["file"]: path}, ["1", "2", "3"])
    pairs = {"a in English:": " x", "c in English:": " z"}
    if kind is PROJECTED:  # labels of the source lines
        pairs = {"a =": " 1", "c =": " 3"}
    assert {row.prompt: row.completion for row in found} == pairs


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_empty_line_does_not_shift_what_comes_after_it(tmp_path, kind):
    """It may stand for a line that was lost; another one further on makes the numbers equal."""
    made, files = [], {}
    for name, lines in [("en", ["1", "", "2", "3"]), ("sw", ["1", "2", "", "3"])]:
        row = '{{"text": "{0}", "n": "{0}"}}' if kind == "jsonl" else "{0},{0}"
        content = ["text,n"] * (kind == "csv") + [line and row.format(line) for line in lines]
        (tmp_path / f"{name}.{kind}").write_text("\n".join(content) + "\n\n")
        source, path = file_source(f"{name}.{kind}", tmp_path)
        made.append({"source": source, "column": "text", "max_samples": None})
        files[source["file"]] = path
    for en, sw, fits in [(made[0], made[1], False), (made[0], made[0], True)]:
        wanted = {**TRANSLATION, "lines": sw, "source_lines": en}
        if fits:
            assert len(examples(wanted, files)) == 3
            continue
        with pytest.raises(InputError, match=rf"en\.{kind}: row 1: found an empty line before it"):
            examples(wanted, files)


def test_a_line_that_a_task_does_not_fit_is_named_by_its_file(tmp_path):
    lines, files = text(tmp_path, "x.txt", ["one", "two"])
    task = {**FREE, "doc_to_text": "{{text.split('n')[1]}}"}
    wanted = {"rows": "unlabelled", "task": task, "field": "text", "lines": lines}
    with pytest.raises(InputError, match=r"x\.txt: row 1: found .* \(line 2\); needed templates"):
        questions(wanted, files)


def test_answers_in_free_text_are_learnt_as_the_task_would_write_them(tmp_path):
    lines, files = text(tmp_path, "x.txt", ["one", "two", "three"])
    wanted = {"rows": "unlabelled", "task": FREE, "field": "text", "lines": lines}
    assert len(questions(wanted, files).items) == 3
    found = examples(wanted, files, ["1", "  ", " 3 "])
    assert found == [Example("one:", "\n1"), Example("three:", "\n3")]
