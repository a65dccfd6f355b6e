"""Tasks written for lm-evaluation-harness: it asks what we ask, and takes for right what we do."""

import json
import sys

import pytest
import yaml
from lm_eval.tasks import TaskManager
from pyarrow import parquet

from adamergex.errors import InputError
from adamergex.tasks import Questions, find_task, write_task
from adamergex.tasks.row import Number, Row
from tests.tasks.test_harness import CHOICE, FREE

SQUAD = {
    "answers": {"text": ["Rome", "in Rome"], "answer_start": [1, 2]},
    "context": "c", "question": "q",
}  # fmt: skip
YES_NO = {**CHOICE, "doc_to_choice": ["True", "False"]}
DIGITS = {**CHOICE, "doc_to_text": "{{text}}"}
TWO = {**CHOICE, "doc_to_choice": ["b", "2"]}
SHOWN = {**FREE, "doc_to_text": "{{so}}:", "description": "{{text}} "}
BEGUN = {**FREE, "gen_prefix": "{{so}}", "doc_to_text": "day"}


def csv_rows(*cells):
    return [Row(row, "a.csv", i, typed=False) for i, row in enumerate(cells)]


def own(**keys):
    return [{"text": "x", "spare": "s", **keys}, {"text": "y", "spare": "t", **keys}]


def labels(*given, text="x", **keys):
    return [{"text": text, "label": label, **keys} for label in given]


PLAIN = {
    "choices": (CHOICE, own(label=1)),
    "indices of csv": (CHOICE, csv_rows(*labels("2", "0", text="020"))),
    "free text": (FREE, own(answer="so")),
    "answers": (FREE, own(answer=["one", "two"])),
    "other types": (CHOICE, [*labels(1, id=1), *labels(0, id="a")]),
    "other keys": (CHOICE, [*labels(1), *labels(0, more=None)]),
    "no text": (CHOICE, own(label=1, far=10**30, half="\ud83d", raw=b"\xff", gap=None, empty={})),
    "as it is written": (FREE, own(answer=Number("2.50"))),
    "xquad": (find_task("xquad", None).in_language("de"), [SQUAD]),
}
OTHERWISE = {
    "booleans": (YES_NO, labels(True, False)),
    "lists": ({**FREE, "doc_to_target": "{{answer}}"}, own(answer='["a", "b"]')),
    "digits": (DIGITS, labels(1, 0, text="020")),
    "dates": (FREE, own(answer="2024-01-01")),
    "dates in lists": (FREE, own(answer=["2024-01-01", "2024-01-02"])),
    "several or one": (FREE, [{"text": "x", "answer": ["a"]}, {"text": "y", "answer": "b"}]),
    "an index as text": (TWO, csv_rows(*labels("0", "2"))),
    "a boolean in a prompt": (SHOWN, own(so=True, answer="a")),
    "a prefix": (BEGUN, [{"so": False, "day": "2024-01-01", "answer": "a"}]),
    "computed": ({**CHOICE, "doc_to_target": "{{label - 1}}"}, csv_rows(*labels("2", "3.0"))),
}


def theirs(path):
    """For each row what lm-evaluation-harness asks and takes for right, by its own task."""
    (task,) = TaskManager(include_defaults=False).load([str(path)])["tasks"].values()
    made = []
    for doc in task.eval_docs:
        prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
        requests = task.construct_requests(doc, prompt, metadata=("t", 0, 1))
        target = task.doc_to_target(doc)
        if isinstance(requests, list):
            choices = task.doc_to_choice(doc)
            gold = choices.index(target) if isinstance(target, str) else int(target)
            assert {request.args[0] for request in requests} == {prompt}
            made.append((prompt, tuple(request.args[1] for request in requests), gold))
        else:
            made.append((prompt, (), target))
    return made


@pytest.mark.parametrize("name", [*PLAIN, *OTHERWISE])
def test_lm_eval_asks_the_same(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    config, records = (PLAIN | OTHERWISE)[name]
    config = {**config, "task": "own"}
    asked = Questions(config, records)
    path = write_task(config, {"test": asked.rows}, tmp_path / "out")
    path = path.parent.rename(tmp_path / "moved") / path.name
    for module in [name for name in sys.modules if name.startswith("adamergex_")]:
        del sys.modules[module]
    wanted = [(item.prompt, item.choices, item.gold) for item in asked.items]
    found = theirs(path)
    if not asked.items[0].choices:
        texts = [asked.rows[i].target for i in range(len(wanted))]
        wanted = [
            (prompt, choices, text)
            for (prompt, choices, _), text in zip(wanted, texts, strict=True)
        ]
        found = [(p, c, t if isinstance(t, list) else str(t)) for p, c, t in found]
    assert found == wanted
    content = path.read_text()
    assert ("asked_text" in content) == (name in OTHERWISE)
    assert str(tmp_path) not in content
    assert len((path.parent / "own.test.jsonl").read_text().splitlines()) == len(records)


def test_a_split_with_templates_of_its_own(tmp_path):
    """MGSM is learnt from GSM8K, whose answers are other columns and other words."""
    task = find_task("mgsm", None)
    learnt = [{"question": "q", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}]
    asked = [{"question": "q", "answer": None, "answer_number": 5}]
    train = Questions(task.in_language("en", training=True), learnt).rows
    test = Questions(task.in_language("en"), asked).rows
    path = write_task(task.in_language("en"), {"train": train, "test": test}, tmp_path)
    assert "doc_to_target: asked_answer" in path.read_text()
    (row,) = parquet.read_table(tmp_path / "mgsm_en.train.parquet").to_pylist()
    assert row["asked_answer"] == "1 + 1 = 2\nThe answer is 2"


def test_what_it_would_read_otherwise_all_the_same_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("adamergex.tasks.export._loaded", lambda *_: None)
    with pytest.raises(InputError, match="own: found rows that it would read otherwise"):
        write_task({**CHOICE, "task": "own"}, {"test": own(label=1)}, tmp_path)


def test_what_is_written_is_as_before_where_it_can_be(tmp_path):
    config = {**find_task("sib200", None).in_language("swh_Latn")}
    cells = {"index_id": "7", "category": "travel", "text": 'Basi [x]: "ndiyo".'}
    path = write_task(config, {"test": csv_rows(cells)}, tmp_path)
    (line,) = (tmp_path / "sib200_swh_Latn.test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {**cells, "index_id": 7}
    plain = path.read_text(encoding="utf-8").replace("!function ", "")
    written = yaml.safe_load(plain)
    assert written["doc_to_text"] == config["doc_to_text"]
    assert written["dataset_path"] == "json"
