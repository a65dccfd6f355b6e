"""A user's mistakes: exit code 2, one line that says what is wrong, and nothing written."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from adamergex.cli import main
from tests.cli.test_merge import arguments
from tests.support.folders import (
    PREFIX,
    edit_config,
    edit_tensors,
    lora_tensors,
    snapshot,
    three,
    write_ia3,
    write_lora,
)

Q = f"{PREFIX}.0.self_attn.q_proj"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def inputs(tmp_path):
    return three(tmp_path)


@pytest.fixture
def refused(tmp_path, inputs, capsys):
    """Runs the merge, which must fail cleanly; every part must stand in the one line it prints."""

    def run(*parts, more=(), output="out", code=2):
        before = snapshot(tmp_path)
        assert main(arguments(inputs, tmp_path / output, *more)) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("adamergex: error: ")
        for part in parts:
            assert str(part) in err
        assert snapshot(tmp_path) == before

    return run


def test_a_missing_folder(inputs, refused, tmp_path):
    inputs["reference_target"] = tmp_path / "nowhere"
    refused(tmp_path / "nowhere", "found no such folder", "needed a PEFT adapter folder")


def test_missing_weights(inputs, refused):
    (inputs["task"] / WEIGHTS).unlink()
    refused(inputs["task"] / WEIGHTS, "found no such file", "needed adapter tensors")


def test_a_truncated_file(inputs, refused):
    path = inputs["reference_source"] / WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    refused(path, "needed a whole safetensors file")


def test_a_folder_that_is_no_adapter(inputs, refused):
    (inputs["task"] / "adapter_config.json").unlink()
    refused(inputs["task"] / "adapter_config.json", "no such file", "a PEFT adapter's config")


def test_a_config_that_is_no_json(inputs, refused):
    (inputs["task"] / "adapter_config.json").write_text("{")
    refused(inputs["task"] / "adapter_config.json", "needed JSON")


def test_a_field_that_is_not_understood(inputs, refused):
    edit_config(inputs["task"], new_variant=True)
    refused(inputs["task"] / "adapter_config.json", "new_variant", "found True")


def test_different_structures(inputs, refused):
    write_ia3(inputs["reference_target"])
    refused(inputs["reference_target"], "peft_type", "found IA3", "'LORA'", inputs["task"])


def test_different_base_models(inputs, refused):
    edit_config(inputs["reference_source"], base_model_name_or_path="other/model")
    refused(
        inputs["reference_source"],
        "base_model_name_or_path",
        "found other/model",
        "'tiny-random/llama'",
        "--allow-different-base",
    )


def test_target_modules_that_do_not_match(inputs, refused):
    edit_tensors(
        inputs["reference_target"], {f"{Q}.lora_A.weight": None, f"{Q}.lora_B.weight": None}
    )
    refused(inputs["reference_target"], Q, "found no such module")


def test_shapes_that_do_not_match(inputs, refused):
    write_lora(inputs["reference_target"], size=6)
    refused(inputs["reference_target"], "q_proj", "found (2, 6)", "needed (2, 8)")


def test_ranks_that_factor_space_cannot_take(inputs, refused):
    write_lora(inputs["reference_source"], r=3)
    parts = (inputs["reference_source"], "rank", "found 3", "needed 2", "weight space")
    refused(*parts, more=["--space", "factor"])


@pytest.mark.parametrize("role", ["task", "reference_target", "reference_source"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite(inputs, refused, role, bad):
    name = f"{Q}.lora_B.weight"
    value = lora_tensors(0)[name]
    value[0, 0] = bad
    edit_tensors(inputs[role], {name: value})
    refused(inputs[role] / WEIGHTS, name, "found NaN or infinity", "needed finite values")


def test_an_output_that_exists(inputs, refused, tmp_path):
    write_lora(tmp_path / "out")
    refused(tmp_path / "out", "found it exists", "--overwrite")


def test_an_output_that_is_an_input(inputs, refused, tmp_path):
    refused(tmp_path / "task", more=["--overwrite"], output="task")


def test_an_output_that_is_something_else(inputs, refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    refused(tmp_path / "out", "adapter_config.json", more=["--overwrite"])


@pytest.mark.parametrize("name", ["a b", "a;b", "naïve"])
def test_an_output_name_outside_the_allowed_set(inputs, refused, name):
    refused(name, "needed only letters, digits, . _ and -", output=name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "x;y", "two\nlines", "\x1b[31mred"])
def test_a_tensor_name_outside_the_allowed_set(inputs, refused, name):
    edit_tensors(inputs["task"], {name: np.ones((2, 2))})
    refused(inputs["task"] / WEIGHTS, "needed only letters, digits, . _ and -")


def test_a_pickle_without_permission(inputs, refused):
    folder = inputs["task"]
    (folder / WEIGHTS).unlink()
    tensors = {name: torch.tensor(x) for name, x in lora_tensors(0).items()}
    torch.save(tensors, folder / "adapter_model.bin")
    refused(folder / "adapter_model.bin", "found a pickle", "--allow-pickle")


def test_a_pickle_with_permission(inputs, tmp_path, capsys):
    folder = inputs["task"]
    assert main(arguments(inputs, tmp_path / "one")) == 0
    (folder / WEIGHTS).unlink()
    tensors = {name: torch.tensor(x) for name, x in lora_tensors(0).items()}
    torch.save(tensors, folder / "adapter_model.bin")
    assert main(arguments(inputs, tmp_path / "two", "--allow-pickle")) == 0
    one, two = (snapshot(tmp_path / name)[WEIGHTS] for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_scale_that_is_not_finite(inputs, refused, value):
    refused("scale", f"found {value}", "needed a finite number", more=[f"--scale={value}"])


@pytest.mark.parametrize("value", ["abc", "", "1,5"])
def test_a_scale_that_is_no_number(inputs, refused, value):
    refused("--scale", value, more=[f"--scale={value}"])


@pytest.mark.parametrize("value", ["0", "-3", "abc", "1.5", ""])
def test_a_rank_that_is_none(inputs, refused, value):
    refused("rank", f"found {value}", "needed exact", more=[f"--rank={value}"])


def test_a_rank_in_factor_space(inputs, refused):
    refused("rank", "found 2", "factor space", more=["--space=factor", "--rank=2"])


def test_a_scale_so_large_that_the_result_overflows(inputs, refused):
    refused(more=["--scale=1e300"])


def test_a_type_that_cannot_hold_the_result(inputs, refused):
    edit_config(inputs["task"], lora_alpha=1e8)
    refused("float16", "lora_B", more=["--dtype=float16"])


@pytest.mark.parametrize(
    "more", [["--space=both"], ["--dtype=int8"], ["--ia3=cubic"], ["--no-such-option"], ["extra"]]
)
def test_an_option_that_does_not_exist(inputs, refused, more):
    refused("see adamergex merge --help", more=more)


def test_a_required_option_is_named(capsys):
    assert main(["merge", "--task", "x"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--reference-target" in err


def test_an_unknown_command(capsys):
    assert main(["merg"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "merg" in err


def test_no_command_shows_the_help(capsys):
    assert main([]) == 2
    assert "Usage: adamergex" in capsys.readouterr().out


def test_a_place_that_cannot_be_written(inputs, refused, tmp_path):
    """A failure, not a mistake in what was asked: exit code 1."""
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", output="file/out", code=1)


def test_an_error_that_nobody_foresaw_is_one_line_too(inputs, refused, monkeypatch):
    """And a failure of ours, not of the user: exit code 1."""

    def broken(*args, **kwargs):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("adamergex.merging.api.checked", broken)
    refused("ZeroDivisionError: by zero", "--debug shows where", code=1)


def test_debug_shows_where_an_error_came_from(inputs, tmp_path):
    (inputs["task"] / WEIGHTS).unlink()
    call = [sys.executable, "-m", "adamergex", *arguments(inputs, tmp_path / "out", "--debug")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_one_line_and_no_traceback_as_a_module(inputs, tmp_path):
    """Warnings would be extra lines, which only a process of its own shows."""
    for more in (["--scale=nan"], ["--scale=1e300"], ["--rank=0"]):
        call = [sys.executable, "-m", "adamergex", *arguments(inputs, tmp_path / "out", *more)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
        done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
