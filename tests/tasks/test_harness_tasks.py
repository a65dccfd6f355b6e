"""lm-evaluation-harness's own tasks by name, beside what lm-evaluation-harness makes of them."""

import json
import random
import re
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import datasets
import pytest
import yaml
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from adamergex.errors import InputError
from adamergex.methods import Catalog
from adamergex.recipe import DataFiles
from adamergex.tasks import Questions, examples, find_task, write_task
from adamergex.tasks.harness_files import _files, _folder
from adamergex.tasks.preparation import prepared

# Rows by hand, with the columns that the data sets on the Hub have.
LETTERS = {f"option_{letter}": f"choice {letter} " for letter in "abcd"}
BELEBELE = {
    "flores_passage": "Mvua ilinyesha.", "question": " Nini? ", "mc_answer1": "mvua",
    "mc_answer2": "jua", "mc_answer3": "upepo", "mc_answer4": "theluji",
}  # fmt: skip
STORY = {f"input_sentence_{i}": f"Sentensi {i}." for i in range(1, 5)}
COPA = {"premise": "ฝนตกหนัก ", "choice1": "İki", "choice2": "Baba", "idx": 1}
SPAN = {"context": "Der Regen fiel in Rom.", "question": "Wo?"}
MMLU = {"question": "Swali {x} %?", "choices": "['moja', \"m'bili\", 'tatu', 'nne']"}
ARC = {"instruction": " Was [title] ist  das [edit]? ", **LETTERS, "option_c": "", "option_e": "e"}
SWAG = {"activity_label": "Kochen", "ctx_a": "Ein Koch.", "ctx_b": "er [substeps] rührt"}
TRUE = {"question": "Warum  [title] so?", "mc2_targets_choices": ["a"], "mc2_targets_labels": [1]}


def each(column, values, **row):
    return [{**row, column: value} for value in values]


def answers(*golds):
    return [{"text": list(gold), "answer_start": [1] * len(gold)} for gold in golds]


COPAS = [{**COPA, "question": kind, "label": n} for n, kind in enumerate(["cause", "effect"])]
NLI = each("label", [0, 1, 2, 1], premise="Mvua.", hypothesis="Maji?")
TASKS = {
    "belebele_swh_Latn": ("sw", each("correct_answer_num", ["2", "1", "4"], **BELEBELE)),
    "xstorycloze_sw": (
        "sw", each("answer_right_ending", [1, 2], **STORY, sentence_quiz1="A", sentence_quiz2="B"),
    ),
    "xnli_sw": ("sw", NLI),
    "xcopa_th": ("th", COPAS),
    "xcopa_qu": ("qu", COPAS),
    "mgsm_direct_sw": (
        "sw", each("answer_number", [18, 3, 2125], question="Ngapi?", answer=None),
    ),
    "mgsm_native_cot_de": (
        "de",
        [{"question": "1+1?", "answer": "Schritt-für-Schritt-Antwort: 2.", "answer_number": 2},
         {"question": "2+3?", "answer": None, "answer_number": 5}],
    ),
    "xquad_de": ("de", each("answers", answers(["Rom"], ["in Rom", "Rom"], ["The Rome!"]), **SPAN)),
    "mlqa_de_de": ("de", each("answers", answers(["Rom"], ["in Rom", "Rom"], ["Das Rom"]), **SPAN)),
    "sib_swa_prompt_1": ("sw", each("category", ["travel", "health", "travel"], text="Safari.")),
    "masakhanews_swa_prompt_2": (
        "sw", each("category", ["sports", "health", "sports"], headline="Mpira", text="..."),
    ),
    **{
        f"afrimmlu_{kind}_swa_prompt_{n}": (
            "sw", each("answer", ["A", "D", "A"], **MMLU, subject="anatomy", language="swa"),
        )
        for kind in ("direct", "translate") for n in range(1, 6)
    },
    **{f"afrixnli_swa_prompt_{n}": ("sw", NLI) for n in range(1, 6)},
    "global_mmlu_full_sw_anatomy": (
        "sw",
        each("subject", ["anatomy", "virology", "anatomy"], question=" q", answer="C", **LETTERS),
    ),
    "include_base_44_greek_arts_humanities": (
        "el",
        each("domain", ["Arts & Humanities", "STEM"], question=" q", answer=3, **LETTERS),
    ),
    "mmmlu_sw_ke_anatomy": (
        "sw",
        each("Subject", ["anatomy", "anatomy_test.csv_sw-KE.csv", "virology"],
             Question=" q ", A="1", B="2", C="3", D="4", Answer="B"),
    ),
    "arc_de": ("de", each("answer", ["A", "B"], **ARC, id="1")),
    "hellaswag_de": (
        "de", each("label", ["1", "0"], **SWAG, endings=["und [x] isst.  ", "geht [title] heim"]),
    ),
    "truthfulqa_de_mc1": (
        "de", each("mc1_targets_choices", [["ja", "nein"], ["gut", "schlecht", "x"]], **TRUE),
    ),
    "eus_exams_es_opebilbao": (
        "es", each("answer", [0, 3, 7], question="¿?", candidates=["a", "b", "c", "d"]),
    ),
    "bigbench_kanji_ascii_multiple_choice": (
        "ja",
        each("multiple_choice_targets", [["a", "b"], [], ["b", "c"]], inputs="?", targets=["b"]),
    ),
}  # fmt: skip


class Splits(dict):
    """A data set with the same rows in every split."""

    def __init__(self, rows):
        super().__init__()
        self.rows = datasets.Dataset.from_list(rows)

    def __missing__(self, split):
        return self.rows


def squad_metrics():
    """The module that lm-evaluation-harness's xquad imports, which transformers 5 does not have.

    By SQuAD 1.1's definitions, and with the two functions' names and arguments.
    """

    def words(text):
        kept = "".join(char for char in text.lower() if char not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    def compute_f1(gold, answer):
        gold, answer = words(gold), words(answer)
        if not gold or not answer:
            return int(gold == answer)
        shared = sum((Counter(gold) & Counter(answer)).values())
        precision, recall = shared / len(answer), shared / len(gold)
        return 2 * precision * recall / (precision + recall) if shared else 0

    module = ModuleType("transformers.data.metrics.squad_metrics")
    module.compute_f1 = compute_f1
    module.compute_exact = lambda gold, answer: int(words(gold) == words(answer))
    return module


@pytest.fixture(scope="module")
def theirs():
    """Name -> lm-evaluation-harness's own task object."""
    manager = TaskManager(include_defaults=False)  # which takes a path, too
    with pytest.MonkeyPatch.context() as patch:
        lacking = squad_metrics()
        patch.setitem(sys.modules, "transformers.data.metrics", ModuleType("metrics"))
        patch.setattr(
            sys.modules["transformers.data.metrics"], "squad_metrics", lacking, raising=False
        )
        patch.setitem(sys.modules, lacking.__name__, lacking)
        # There is no network, which it would find out slowly.
        patch.setattr("evaluate.load", lambda name: None)
        made = {}
        for name, (_, rows) in TASKS.items():
            with patch.context() as loading:
                loading.setattr(datasets, "load_dataset", lambda *_, rows=rows, **__: Splits(rows))
                made[name] = manager.load([str(_files()[name])])["tasks"][name]
        yield made


def requests(task, doc):
    prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    made = task.construct_requests(doc, prompt, metadata=("t", 0, 1))
    return made if isinstance(made, list) else [made]


def results(task, docs, given):
    """(metric, filter) -> a value for each item, and metric -> how they are brought together."""
    asked = [requests(task, doc) for doc in docs]
    for made, row in zip(asked, given, strict=True):
        for request, answer in zip(made, row, strict=True):
            request.resps = [answer]
    found = {}
    for ensemble in task._filters:
        ensemble.apply([request for made in asked for request in made])
        for doc, made in zip(docs, asked, strict=True):
            filtered = [request.filtered_resps[ensemble.name] for request in made]
            for metric, value in task.process_results(doc, filtered).items():
                found.setdefault((metric, ensemble.name), []).append(value)
    return found


@pytest.mark.parametrize("name", TASKS)
def test_prompts_answers_and_scores_are_those_of_the_harness(theirs, name):
    language, rows = TASKS[name]
    task = theirs[name]
    docs = list(task.eval_docs)
    config = find_task(f"lm-eval:{name}", Path()).in_language(language)
    ours = Questions(config, prepared(config, rows))
    made = [requests(task, doc) for doc in docs]
    assert [item.prompt for item in ours.items] == [row[0].args[0] for row in made]
    draw = random.Random(0)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = [tuple(request.args[1] for request in row) for row in made]
        assert [item.choices for item in ours.items] == choices
        golds = [task.doc_to_target(doc) for doc in docs]
        wanted = [
            task.doc_to_choice(doc).index(gold) if isinstance(gold, str) else int(gold)
            for doc, gold in zip(docs, golds, strict=True)
        ]
        assert [item.gold for item in ours.items] == wanted
        given = [[(-9 * draw.random(), False) for _ in row] for row in made]
    else:
        options = [row[0].args[1] for row in made]
        assert [list(item.until) for item in ours.items] == [o["until"] for o in options]
        assert [i.max_gen_toks for i in ours.items] == [o.get("max_gen_toks", 256) for o in options]
        said = ["Rom", "in Rom.", "", "18", "2,125.", "so 5", "Die Antwort lautet 2", "the rome"]
        given = [[draw.choice(said)] for _ in made]
    wanted = results(task, docs, given)
    found = ours.measured(given)
    known = {k if f == "none" else f"{k},{f}": v for (k, f), v in wanted.items()}
    assert found == known
    for metric, values in known.items():
        rule = task.aggregation()[metric.partition(",")[0]]
        assert ours.aggregated(metric, found[metric]) == pytest.approx(rule(values))


def test_no_function_of_a_task_file_is_run(tmp_path):
    """No code of lm-evaluation-harness's is run at all to read its tasks."""
    program = """
import sys
from pathlib import Path
ran = []
def heard(event, args):
    if event == "exec" and "lm_eval" in args[0].co_filename:
        ran.append(args[0].co_filename)
sys.addaudithook(heard)
from adamergex.tasks import find_task
for name in sys.argv[1:]:
    find_task(f"lm-eval:{name}", Path())
assert not ran, ran
import lm_eval.utils
assert ran
"""
    subprocess.run([sys.executable, "-c", program, *TASKS], check=True, cwd=tmp_path)


def copied(folder, name, monkeypatch):
    """lm-evaluation-harness's folder with one task's files alone, and those in `folder`."""
    source = _files()[name].parent
    own = folder / "tasks" / source.relative_to(_folder())
    own.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            (own / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("adamergex.tasks.harness_files._folder", lambda: folder / "tasks")
    return own


def test_a_function_that_was_changed_is_not_taken_for_the_known_one(tmp_path, monkeypatch):
    own = copied(tmp_path, "xcopa_th", monkeypatch)
    path = str(own / "default_th.yaml")
    assert find_task(path, Path()).config["doc_to_text"].startswith("{{ premise.strip()[:-1] }}")
    (own / "utils.py").write_text((own / "utils.py").read_text().replace("[:-1]", "[:-2]"))
    from adamergex.tasks import harness_functions

    harness_functions._digest.cache_clear()
    with pytest.raises(InputError, match=r"utils\.py: found another content"):
        find_task(path, Path())


@pytest.mark.parametrize(
    ("name", "language", "place"),
    [
        ("belebele_swh_Latn", "yo", "belebele_{language}"),
        ("afrimmlu_direct_swa_prompt_2", "en", "afrimmlu_direct_{language}_prompt_2"),
        ("global_mmlu_full_sw_anatomy", "de", "global_mmlu_full_{language}_anatomy"),
        ("xstorycloze_sw", "en", "xstorycloze_{language}"),
    ],
)
def test_rows_of_the_hub_are_asked_in_their_own_language_alone(name, language, place):
    task = find_task(f"lm-eval:{name}", Path())
    split = "dev" if name == "xstorycloze_sw" else "test"
    with pytest.raises(InputError) as raised:
        Catalog(language, Path()).rows(task, language, split)
    assert f"found {language}; needed the one that its data set is in" in str(raised.value)
    assert str(raised.value).endswith(f"data_files, or lm-eval:{place}")
    assert Catalog(language, Path()).rows(task, "swh_Latn", split)


def test_rows_from_a_file_are_asked_as_the_task_asks_its_own(tmp_path):
    rows = tmp_path / "en.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in TASKS["belebele_swh_Latn"][1]))
    files = {"lm-eval-belebele_swh_Latn": DataFiles(train="{language}.jsonl")}
    catalog = Catalog("en", tmp_path, files)
    found = catalog.rows(catalog.task("lm-eval:belebele_swh_Latn"), "en", "train")
    assert len(examples(found.config, found.files)) == 3


def test_a_language_that_there_is_no_task_for():
    with pytest.raises(InputError, match="needed a task of lm-eval's: belebele_tlh"):
        find_task("lm-eval:belebele_{language}", Path()).in_language("tlh")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("xcopa", "no such task; needed one of lm-eval's: xcopa_{language}, xcopa_"),
        ("belebele_swh_Latin", "belebele_swh_Latn"),
        ("", "no such task"),
        ("../../etc", "no such task"),
        ("arithmetic_1dc", "process_docs: found !function"),
        ("mmlu_prox_sw_biology", "found !function"),
        ("gsm8k", "num_fewshot: found 5; needed 0"),
        ("wmt16-en-ro", "metric_list: found"),
    ],
)
def test_what_is_refused(name, says):
    with pytest.raises(InputError) as raised:
        find_task(f"lm-eval:{name}", Path())
    assert says in str(raised.value)


def test_a_name_has_a_place_for_the_language():
    task = find_task("lm-eval:belebele_{language}", Path())
    assert task.name == "lm-eval-belebele"
    assert [task.in_language(code)["dataset_name"] for code in ("sw", "swh_Latn", "eng_Latn")] == [
        "swh_Latn", "swh_Latn", "eng_Latn",
    ]  # fmt: skip
    assert find_task("lm-eval:arc_easy", Path()).in_language("sw")["task"] == "arc_easy"


def test_a_file_of_ones_own_on_top_of_one_of_theirs(tmp_path):
    own = {
        "include": "lm-eval:gsm8k",
        "num_fewshot": 0,
        "doc_to_text": "{{question}} in {language}:",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    config = find_task("mine.yaml", tmp_path).in_language("de")
    assert config["doc_to_text"] == "{{question}} in de:"
    assert config["dataset_path"] == "openai/gsm8k"
    assert "num_fewshot" not in config
    placed = {"include": "lm-eval:xcopa_{language}", "metadata": {"languages": {"th": None}}}
    (tmp_path / "placed.yaml").write_text(yaml.safe_dump(placed))
    task = find_task("placed.yaml", tmp_path)
    assert task.in_language("th")["dataset_name"] == "th"
    with pytest.raises(InputError, match="needed th"):
        task.in_language("sw")


def test_a_task_written_for_lm_eval_has_its_measures(tmp_path):
    config = find_task("lm-eval:afrimmlu_direct_swa_prompt_1", Path()).in_language("sw")
    rows = prepared(config, TASKS["afrimmlu_direct_swa_prompt_1"][1])
    assert rows[0]["choices"] == ["moja", "m'bili", "tatu", "nne"]
    written = load_yaml(write_task(config, {"test": rows}, tmp_path))
    assert "process_docs" not in written
    rule = written["metric_list"][0]["aggregation"]
    assert rule([(0, 0), (0, 1), (1, 1)]) == pytest.approx(2 / 3)
    config = find_task("xquad", Path()).in_language("es")
    written = load_yaml(write_task(config, {}, tmp_path))
    found = written["process_results"]({"answers": {"text": ["El niño"]}}, ["niño"])
    assert found == {"exact_match": 1.0, "f1": 1.0}
    config = find_task("xlsum", Path()).in_language("es")
    assert "shorten" not in load_yaml(write_task(config, {}, tmp_path))


def test_files_that_include_files(tmp_path):
    (tmp_path / "base").write_text(
        "output_type: generate_until\ndoc_to_text: a\ndoc_to_target: b\n"
        "metric_list: [{metric: exact_match}]"
    )
    (tmp_path / "t.yaml").write_text("include: base\ntask: t\ndoc_to_text: own")
    assert find_task("t.yaml", tmp_path).config["doc_to_text"] == "own"
    (tmp_path / "base").write_text("include: t.yaml")
    with pytest.raises(InputError, match="include: found itself"):
        find_task("t.yaml", tmp_path)
    for included, says in (
        ("[nothing]", "no such file"),
        ("3", "include: found 3"),
        ("''", "include"),
    ):
        (tmp_path / "t.yaml").write_text(f"include: {included}\ntask: t")
        with pytest.raises(InputError, match=says):
            find_task("t.yaml", tmp_path)
    (tmp_path / "base").write_text("doc_to_text: !function utils.f")
    (tmp_path / "t.yaml").write_text("include: base\ntask: t")
    with pytest.raises(InputError, match="plain YAML"):
        find_task("t.yaml", tmp_path)
