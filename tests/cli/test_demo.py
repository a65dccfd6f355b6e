"""`adamergex demo`: mistakes before anything heavy is loaded, and the whole of it in miniature."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adamergex.cli import demo, main
from adamergex.recipe import DEMO
from tests.cli.test_imports import HEAVY, imported
from tests.support.backbones import QUIET_TRAINING
from tests.support.folders import snapshot, write_lora

pytestmark = QUIET_TRAINING


@pytest.mark.parametrize("targets", ["xx", "fa,xx", "en", "", "fa,", "fa, ,tr", "f a", "FA"])
def test_languages_that_it_does_not_have(tmp_path, capsys, targets):
    assert main(["demo", "--output", str(tmp_path / "out"), "--targets", targets]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("adamergex: error: --targets: found ")
    assert "needed ar or de or es or fa" in err
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("targets", ["fa,tr", "fa, tr", " fa ,tr ", "fa,tr,fa", "fa, tr, tr"])
def test_languages_are_separated_by_commas_and_blanks_say_nothing(monkeypatch, tmp_path, targets):
    asked = []
    monkeypatch.setattr(demo, "run_demo", lambda output, codes, workers: asked.append(codes))
    assert main(["demo", "--output", str(tmp_path), "--targets", targets]) == 0
    assert asked == [("fa", "tr")]


def test_help_needs_no_training_stack():
    assert not imported("demo", "--help") & {*HEAVY, "numpy"}


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


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    """The demo on the tiny backbone, two steps of training for each adapter."""
    recipe = replace(
        DEMO,
        model=str(tiny_folder),
        merges=DEMO.merges[:1],
        scales=(0.5,),
        training={"max_steps": 2, "learning_rate": 1e-2, "per_device_train_batch_size": 4},
        reference_training={},
    )
    output = tmp_path_factory.mktemp("demo")
    write_lora(output / "adapters" / "emoji-fa")  # what an earlier run with other targets left
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "DEMO", recipe)
        results = demo.run_demo(output, ("tr",), workers=2)
        before = snapshot(output / "steps")
        again = demo.run_demo(output, ("tr",), workers=2)
    return output, results, again, before


def test_it_writes_what_it_promises(finished):
    output, results, _, _ = finished
    assert json.loads((output / "results.json").read_text()) == results
    assert {row["method"] for row in results["rows"]} == {
        "zero-shot",
        "source-ft",
        "target-ft",
        "projection",
        "arimerge",
        "add-reference",
        "adamergex",
    }
    assert all(0 <= row["accuracy"] <= 1 for row in results["rows"])
    page = (output / "report.html").read_text()
    (headline,) = (row for row in results["rows"] if row["headline"])
    assert f"{headline['accuracy']:.3f}" in page


def test_the_setting_of_a_row_is_the_one_that_dev_chose(finished):
    """By its own name, which is that of a point on the row's dev curve."""
    _, results, *_ = finished
    chosen = [row for row in results["rows"] if "dev" in row]
    assert len(chosen) == 4
    for row in chosen:
        (point,) = (p for p in row["dev"] if p["label"] == row["setting"])
        assert point["scale"] == row["scale"]
        assert point["accuracy"] == max(p["accuracy"] for p in row["dev"])


def test_where_dev_left_t_alone_the_row_has_the_score_of_t(finished):
    _, results, *_ = finished
    (own,) = (row for row in results["rows"] if row["method"] == "source-ft")
    for row in results["rows"]:
        if row.get("scale") == 0:
            assert row["accuracy"] == own["accuracy"]


def test_only_the_adapters_of_this_run_are_published(finished):
    output, *_ = finished
    assert [path.name for path in (output / "adapters").iterdir()] == ["emoji-tr"]


def test_the_adapter_to_deploy_loads_in_peft(finished, tiny_folder):
    output, *_ = finished
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model = PeftModel.from_pretrained(base, output / "adapters" / "emoji-tr")
    assert model.active_peft_config.peft_type == "LORA"


def test_a_second_run_does_nothing_anew(finished):
    output, results, again, before = finished
    assert again == results
    assert snapshot(output / "steps") == before
