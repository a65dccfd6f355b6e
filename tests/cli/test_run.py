"""`adamergex run` and `demo`: recipes in miniature, and mistakes before anything is loaded."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adamergex.cli import main
from adamergex.methods import METHODS
from adamergex.plan import planned
from adamergex.recipe import load_recipe
from adamergex.run import Store
from adamergex.score import measure
from adamergex.step import in_order
from adamergex.train import train_adapter
from adamergex.trial import entries
from tests.cli.test_imports import HEAVY, imported
from tests.support.backbones import QUIET_TRAINING, ROWS, STRUCTURES
from tests.support.folders import config_of, dense_updates, snapshot, stored_tensors

pytestmark = QUIET_TRAINING

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"
TINY = "training={max_steps: 2, learning_rate: 1.0e-2, per_device_train_batch_size: 4}"


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("targets", ["xx", "fa,xx", "en", "", "fa,", "fa, ,tr", "f a", "FA"])
def test_languages_that_the_demo_does_not_have(tmp_path, capsys, targets):
    assert main(["demo", "--output", str(tmp_path / "out"), "--targets", targets]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("adamergex: error: ")
    assert snapshot(tmp_path) == {}


def test_help_needs_no_training_stack():
    for command in (
        "run",
        "demo",
        "preview",
        "evaluate",
        "report",
        "tasks",
        "init",
        "methods",
        "store",
    ):
        assert not imported(command, "--help") & {*HEAVY, "numpy"}


def test_a_mistake_is_found_without_the_training_stack(tmp_path):
    program = """
import sys
from adamergex.cli import main
code = main(["demo", "--output", sys.argv[1], "--targets", "xx"])
print(code, "torch" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 False False\n"


def demo_in_miniature(model, output, *changes):
    """The demo on a tiny backbone, two seeds, two steps of training for each adapter."""
    run(
        "demo", "--output", output, "--workers", "1", "--targets", "tr",
        "--set", f"model={model}", "--set", "base_model=tiny/random",
        "--set", TINY,
        "--set", "reference=[{task: causal-lm, text: emoji, max_samples: 12}]",
        "--set", "scale={grid: [0, 0.5]}",
        "--set", "seed=[0, 1]",
        "--set", "max_samples={train: 12, dev: 8, test: 10}",
        *(word for change in changes for word in ("--set", change)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    """A run in miniature, done twice: its folder, and what was there after the first time."""
    output = tmp_path_factory.mktemp("run") / "out"
    few = "methods=[zero-shot, source-ft, adamergex]"
    demo_in_miniature(tiny_folder, output, few)
    before = results_of(output), snapshot(output / "steps")
    demo_in_miniature(tiny_folder, output, few)
    return output, before


@pytest.mark.slow
def test_every_method_has_its_row(tiny_folder, tmp_path):
    every = f"methods=[{', '.join(METHODS)}]"
    demo_in_miniature(tiny_folder, tmp_path, every, "merge={space: [weight, factor]}")
    results = results_of(tmp_path)
    assert {row["method"] for row in rows(results)} == set(METHODS)
    assert_chosen_on_dev(results, count=2 * 7)


def rows(results):
    (task,) = results["tasks"]
    return task["rows"]


def test_each_row_has_its_score_and_its_place_in_the_report(finished):
    output, (results, _) = finished
    assert [row["method"] for row in rows(results)] == ["zero-shot", "source-ft", "adamergex"]
    assert all(0 <= row["score"] <= 1 for row in rows(results))
    assert all([each["seed"] for each in row["runs"]] == [0, 1] for row in rows(results))
    page = (output / "report.html").read_text(encoding="utf-8")
    (headline,) = (row for row in rows(results) if row["headline"])
    assert f"{headline['score']:.3f}" in page
    for name in ("results.csv", "table.md", "table.tex"):
        assert (output / name).stat().st_size > 0


def test_its_merges_can_be_tried_again_at_any_t(finished, tmp_path):
    output, _ = finished
    (entry,) = entries(str(output))
    assert entry.name == "emoji-tr: causal-lm, factor"
    config, (t, rt, rs) = config_of(entry.folders[0]), map(stored_tensors, entry.folders)
    factors = {name: t[name] + 0.7 * (rt[name] - rs[name]) for name in t}
    for module, update in dense_updates(entry.at(0.7, tmp_path)).items():
        name = f"base_model.model.{module}.lora_{{}}.weight"
        expected = factors[name.format("B")] @ factors[name.format("A")]
        expected *= config["lora_alpha"] / config["r"]
        np.testing.assert_allclose(update, expected, rtol=0, atol=1e-6)
    # At the t that was chosen it is what was published.
    published = dense_updates(output / "adapters" / "emoji-tr")
    for module, update in dense_updates(entry.at(entry.scale, tmp_path / "chosen")).items():
        np.testing.assert_allclose(update, published[module], rtol=0, atol=1e-6)
    assert entry.prompt
    assert len(entry.choices) > 2


def test_what_was_run_and_what_it_cost_is_written_down(finished):
    _, (results, _) = finished
    assert results["recipe"]["targets"] == ["tr"]
    assert results["languages"] == {"en": "English", "tr": "Turkish"}
    assert results["environment"]["packages"]["torch"]
    trained = [cost for cost in results["costs"] if cost["kind"] in ("train", "train-sparse")]
    assert all(c["tokens"] > 0 and c["seconds"] > 0 and c["steps"] > 0 for c in trained)
    assert all(c["peak_memory"] > 2**20 for c in trained)


def test_the_setting_of_a_row_is_the_one_that_dev_chose(finished):
    assert_chosen_on_dev(finished[1][0], count=2)


def assert_chosen_on_dev(results, count):
    """By its own name, which is that of a point on the row's dev curve."""
    chosen = [each for row in rows(results) for each in row["runs"] if each["dev"]]
    assert len(chosen) == count
    for each in chosen:
        (point,) = (p for p in each["dev"] if p["label"] == each["setting"])
        assert point["scale"] == each["scale"]
        assert point["score"] == max(p["score"] for p in each["dev"])


def test_where_dev_left_t_alone_the_row_has_the_score_of_t(finished):
    _, (results, _) = finished
    (own,) = (row for row in rows(results) if row["method"] == "source-ft")
    for row in rows(results):
        for each, base in zip(row["runs"], own["runs"], strict=True):
            if each["scale"] == 0:
                assert each["score"] == base["score"]


def test_the_adapter_to_deploy_loads_in_peft(finished, tiny_folder):
    output, _ = finished
    assert [path.name for path in (output / "adapters").iterdir()] == ["emoji-tr"]
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model = PeftModel.from_pretrained(base, output / "adapters" / "emoji-tr")
    assert model.active_peft_config.peft_type == "LORA"


def test_its_card_says_what_the_run_knows(finished, tiny_folder):
    output, (results, _) = finished
    adapter = output / "adapters" / "emoji-tr"
    (headline,) = (row for row in rows(results) if row["headline"])
    found = ModelCard.load(adapter / "README.md")
    data = found.data
    assert (data.base_model, data.library_name) == ("tiny/random", "peft")
    assert (data.base_model_relation, data.language) == ("adapter", ["tr", "en"])
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_name) == ("accuracy", "acc")
    assert result.metric_value == headline["runs"][0]["score"]
    assert (result.dataset_config, result.metric_args["n"]) == ("tr", 10)
    right = result.metric_value
    wanted = (right * (1 - right) / 9) ** 0.5
    assert result.metric_args["standard_error"] == pytest.approx(wanted)
    assert "| language | Turkish (tr); labels to train on were in English (en) |" in found.text
    scale = headline["runs"][0]["scale"]
    assert f"| t | {scale:g}, chosen on labelled dev items of the target language" in found.text
    if scale:
        assert "| reference target | causal-lm, tr |" in found.text
    assert not any(
        str(place) in path.read_text(encoding="utf-8")
        for path in (adapter / "README.md", adapter / "adapter_config.json")
        for place in (output, tiny_folder)
    )


def test_the_program_in_its_card_runs_as_it_stands(finished, tiny_folder, tmp_path, monkeypatch):
    output, _ = finished
    shutil.copytree(output / "adapters" / "emoji-tr", tmp_path, dirs_exist_ok=True)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "random").symlink_to(tiny_folder)  # what the Hub would have
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.+?)```", Path("README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["found"].shape[1] > names["prompt"]["input_ids"].shape[1]
    assert names["model"].active_peft_config.peft_type == "LORA"


def test_evaluate_gives_the_score_of_the_table(finished, tiny_folder, capsys):
    """That of the adapter to deploy, on the same items."""
    output, (results, _) = finished
    (headline,) = (row for row in rows(results) if row["headline"])
    adapter = output / "adapters" / "emoji-tr"
    run(
        "evaluate", "--model", tiny_folder, "--adapter", adapter, "--task", "emoji",
        "--language", "tr", "--max-samples", "10", "--json",
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == headline["runs"][0]["score"]
    assert (found["n"], found["metric"], found["chance"]) == (10, "acc", 1 / 8)


def test_several_adapters_have_the_scores_that_each_has_alone(
    tiny, tiny_folder, tmp_path, capsys, monkeypatch
):
    bases = []

    def loaded(*args):
        bases.append(args)
        return tiny

    monkeypatch.setattr(measure, "backbone", loaded)
    asked = ["evaluate", "--model", tiny_folder, "--task", "emoji", "--language", "tr",
             "--max-samples", "6"]  # fmt: skip
    places, alone = [tmp_path / "a", tmp_path / "b"], []
    for seed, place in enumerate(places):
        training = {"max_steps": 1, "learning_rate": 0.1}
        train_adapter(tiny, ROWS, place, adapter=STRUCTURES["lora"], training=training, seed=seed)
        capsys.readouterr()
        run(*asked, "--adapter", place, "--json", "--output", tmp_path / "one.json")
        shown = json.loads(capsys.readouterr().out)
        assert "adapter" not in shown
        kept = json.loads((tmp_path / "one.json").read_text())
        alone.append(tuple({"adapter": str(place), **x} for x in (shown, kept)))
    bases.clear()
    both = [word for place in places for word in ("--adapter", place)]
    run(*asked, *both, "--json", "--output", tmp_path / "both.json")
    assert len(bases) == 1
    found = json.loads(capsys.readouterr().out), json.loads((tmp_path / "both.json").read_text())
    assert list(zip(*found, strict=True)) == alone
    run(*asked, *both)
    assert capsys.readouterr().out.count("6 items") == 2


def test_a_task_is_written_for_lm_eval(tmp_path, capsys):
    run("tasks", "emoji", "--language", "tr", "--max-samples", "7", "--output", tmp_path / "tasks")
    path = Path(capsys.readouterr().out.strip())
    config = yaml.safe_load(path.read_text(encoding="utf-8").replace("!function ", ""))
    assert (config["task"], config["dataset_path"]) == ("emoji_tr", "json")
    places = config["dataset_kwargs"]["data_files"]
    rows = {split: (path.parent / at).read_text().splitlines() for split, at in places.items()}
    assert {split: len(lines) for split, lines in rows.items()} == {"train": 7, "dev": 7, "test": 7}
    assert config["test_split"] == "test"


def test_how_a_file_was_read_and_what_was_left_out_is_said(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text('category\ttext\ntravel\t"She said ""go""."\nfood\tRice.\n')
    asked = ["tasks", "sib200", "--language", "sw", "--data-files", f"test={tmp_path / 'a.tsv'}",
             "--output", str(tmp_path / "tasks")]  # fmt: skip
    assert main(asked) == 2
    assert "a.tsv: row 1, answer: found food (line 3)" in capsys.readouterr().err
    run(*asked, "--bad-rows", "skip")
    out, err = capsys.readouterr()
    assert "a.tsv: fields between tabs; quotation marks around fields are csv's" in err
    assert "sib200_swh_Latn: 1 rows left out, the first: " in err
    (line,) = (Path(out.strip()).parent / "sib200_swh_Latn.test.jsonl").read_text().splitlines()
    assert json.loads(line) == {"category": "travel", "text": 'She said "go".'}


def test_a_second_run_does_nothing_anew(finished):
    output, (results, steps) = finished
    assert results_of(output) == results
    assert snapshot(output / "steps") == steps


def test_the_report_is_written_anew_the_same(finished, capsys):
    output, _ = finished
    page = (output / "report.html").read_bytes()
    (output / "report.html").unlink()
    run("report", output)
    assert str(output / "report.html") in capsys.readouterr().out
    assert (output / "report.html").read_bytes() == page


def test_what_a_run_finished_is_listed_verified_and_cleared(finished, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    capsys.readouterr()
    run("store", "ls", folder)
    out = capsys.readouterr().out
    steps = list(folder.glob("steps/*/record.json"))
    assert out.count("\n") == len(steps) + 1
    assert f"{len(steps)} steps, " in out
    assert "train causal-lm, tr" in out
    run("store", "verify", folder)
    assert f"{len(steps)} steps, all as they were written" in capsys.readouterr().out
    weights = next(folder.glob("steps/train-*/adapter/adapter_model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert main(["store", "verify", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{weights.parents[1]}: adapter/adapter_model.safetensors has changed\n"
    assert "1 damaged steps; the next run makes them anew" in err
    run("store", "gc", folder, "--dry-run")
    assert weights.exists()
    run("store", "gc", folder)
    assert capsys.readouterr().out.count("removed ") == 2
    assert not weights.exists()
    assert len(list(folder.glob("steps/*/record.json"))) == len(steps) - 1


def test_steps_of_no_recipe_that_is_named_are_cleared(routing, tiny_folder, tmp_path, capsys):
    recipe, _ = routing
    kept, output = recipe.with_name("kept.yaml"), tmp_path / "out"
    content = yaml.safe_load(recipe.read_text()) | {"model": str(tiny_folder)}
    kept.write_text(yaml.safe_dump(content))
    store = Store(output / "steps")
    for changes in ([], ["seed=1"]):
        for step in in_order([planned(load_recipe(kept, changes))]):
            store.fill(step, lambda _: {})
    run("store", "gc", output, "--recipe", kept)
    assert "removed" in capsys.readouterr().out
    run("run", kept, "--output", output, "--dry-run")
    assert "to do: 0 trainings, 0 scorings, 0 others" in capsys.readouterr().out
    run("run", kept, "--output", output, "--set", "seed=1", "--dry-run")
    assert "to do: 0 trainings" not in capsys.readouterr().out


def test_a_folder_without_steps_is_named(tmp_path, capsys):
    assert main(["store", "ls", str(tmp_path)]) == 2
    assert "found no finished steps; needed the folder of a run" in capsys.readouterr().err


@pytest.fixture
def routing(tmp_path, tiny_folder):
    """The task of docs/recipes.md, taken from there, and data for it."""
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["routing.yaml", "recipe.yaml"]
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
    teams = ("billing", "delivery", "returns")
    for folder, suffix in (("messages", "csv"), ("text", "txt")):
        (tmp_path / folder).mkdir()
        for language in ("en", "sw"):
            path = tmp_path / folder / f"{language}.{suffix}"
            with path.open("w", encoding="utf-8", newline="") as file:
                if suffix == "txt":
                    file.writelines(f"{language} text, line {i}\n" for i in range(8))
                    continue
                table = csv.writer(file)
                table.writerow(["message", "team"])
                table.writerows([f'{language} "{i}", please', teams[i % 3]] for i in range(30))
    model = f"model={tiny_folder}"
    return tmp_path / "recipe.yaml", ("--set", model, "--set", TINY, "--set", "scale.grid=[0, 1]")


def test_a_task_of_the_users_own_by_yaml_alone(routing, tmp_path):
    recipe, changes = routing
    output = tmp_path / "out"
    changes = [*changes, "--set", "scale={grid: [0.5], select: fixed}"]
    run("run", recipe, *changes, "--output", output, "--workers", "2")
    results = results_of(output)
    assert [task["task"] for task in results["tasks"]] == ["routing"]
    assert results["tasks"][0]["n_test"] == {"sw": 10}
    assert [row["method"] for row in rows(results)] == ["zero-shot", "source-ft", "adamergex"]
    adapter = output / "adapters" / "routing-sw"
    assert (adapter / "adapter_model.safetensors").is_file()
    card = (adapter / "README.md").read_text(encoding="utf-8")
    assert "| t | 0.5, fixed beforehand |" in card
    assert [line.split(" | ")[:2] for line in card.splitlines() if "`" in line and "|" in line] == [
        ["| task", "routing, en"],
        ["| reference target", "causal-lm, sw"],
        ["| reference source", "causal-lm, en"],
    ]
    assert "base_model" not in ModelCard.load(adapter / "README.md").data.to_dict()
    manifest = (adapter / "merge_manifest.json").read_text(encoding="utf-8")
    assert str(recipe.parent.parent) not in card + manifest


def test_the_plan_is_printed_and_nothing_done(routing, tmp_path, capsys):
    recipe, changes = routing
    run("run", recipe, *changes, "--output", tmp_path / "out", "--dry-run")
    out = capsys.readouterr().out
    assert "to do: 3 trainings" in out
    assert not (tmp_path / "out").exists()


def test_an_example_is_shown_with_what_carries_loss(routing, capsys):
    recipe, changes = routing
    run("preview", recipe, *changes)
    out = capsys.readouterr().out
    assert 'en "0", please\nTeam: billing<end>' in out
    assert "routing, en: 30 rows" in out
    assert "causal-lm, sw: 8 rows" in out


def test_a_template_to_start_from(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    run("init", path)
    assert "reference:" in path.read_text(encoding="utf-8")
    assert main(["init", str(path)]) == 2  # it is there now
    assert "found a file" in capsys.readouterr().err
