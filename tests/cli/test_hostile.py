"""What the terminal obeys never comes from a file: names, fields and texts are shown as text."""

import json
import shutil

import pytest

from adamergex.cli import main
from tests.support.folders import edit_config, write_lora

BELL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\r[red]x[/]"


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert all(c.isprintable() or c in "\n\t" for c in out + err), ascii(out + err)
    return code, out, err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_adapter_with_commands_in_its_name_and_fields(tmp_path, capsys, more):
    folder = write_lora(tmp_path / f"a{BELL.replace('/', '')}", base_model_name_or_path=BELL)
    code, out, err = run(capsys, "inspect", folder, *more)
    assert (code, err) == (0, "")
    assert "title" in out
    code, out, _ = run(capsys, "inspect", folder, write_lora(tmp_path / "b"), *more)
    assert (code, "compatible" in out) == (0, True)


def test_an_error_about_a_name_with_commands_in_it(tmp_path, capsys):
    folder = tmp_path / BELL.replace("/", "")
    code, _, err = run(capsys, "inspect", folder)
    assert (code, err.count("\n"), "\\x1b]0;title" in err) == (2, 1, True)
    write_lora(folder)
    for field in ("peft_type", "bias", BELL):
        code, _, err = run(capsys, "inspect", edit_config(folder, **{field: BELL}))
        assert (code, err.count("\n")) == (2, 1)


def test_a_failure_that_names_such_a_file(tmp_path, capsys):
    (tmp_path / "x\x1b[2J").write_text("")
    inputs = [f"--{role}={write_lora(tmp_path / role)}" for role in
              ("task", "reference-target", "reference-source")]  # fmt: skip
    code, _, err = run(capsys, "merge", *inputs, "--output", tmp_path / "x\x1b[2J" / "out")
    assert (code, "\\x1b[2J" in err) == (1, True)


def test_a_recipe_and_an_option_with_commands_in_them(tmp_path, capsys):
    path = tmp_path / "r.yaml"
    path.write_text(f"model: {json.dumps(BELL)}\n")
    for arguments in (["run", path], ["preview", path], ["run", tmp_path / BELL.replace("/", "")],
                      ["run", path, "--set", BELL], [BELL], ["inspect", "--" + BELL]):  # fmt: skip
        code, _, err = run(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1)


def test_training_rows_with_commands_in_them(tiny_folder, tmp_path, capsys):
    shutil.copytree(tiny_folder, tmp_path / "model")
    row = {"q": BELL.replace("\r", ""), "a": "y\x1b[2J"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "text.txt").write_text(BELL.replace("\r", "") + "\n")
    (tmp_path / "t.yaml").write_text(
        'task: t\noutput_type: generate_until\ndoc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\n'
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    (tmp_path / "r.yaml").write_text(
        "model: model\nsource: en\ntargets: [fa]\ntasks: [t.yaml]\n"
        "reference: {task: causal-lm, text: text.txt}\n"
        "data_files: {t: {train: data.jsonl}}\nscale: {select: fixed, grid: [1]}\n"
    )
    code, out, err = run(capsys, "preview", tmp_path / "r.yaml")
    assert (code, err) == (0, "")
    assert "y\\x1b[2J" in out
    assert "[red]x[/]" in out
