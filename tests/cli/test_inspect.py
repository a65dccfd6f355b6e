"""`adamergex inspect`: for people, and as JSON."""

import json

import numpy as np
import pytest

from adamergex.checkpoint import open_checkpoint
from adamergex.cli import main
from adamergex.merging.inspection import compared, described
from tests.support.folders import (
    PREFIX,
    edit_config,
    edit_tensors,
    snapshot,
    three,
    write_ia3,
    write_lora,
    write_prefix,
)

WRITERS = {"lora": write_lora, "ia3": write_ia3, "prefix": write_prefix}


def printed(capsys, *call, code=0):
    assert main(["inspect", *map(str, call)]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_json_is_one_object_and_nothing_else(tmp_path, capsys, write):
    folders = list(three(tmp_path, write).values())
    out = printed(capsys, *folders, "--json")
    assert out.count("\n") == 1
    opened = [open_checkpoint(folder) for folder in folders]
    wanted = {"adapters": [described(c) for c in opened], "comparison": compared(opened)}
    assert json.loads(out) == json.loads(json.dumps(wanted, allow_nan=False))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_one_adapter(tmp_path, capsys, write):
    out = printed(capsys, write(tmp_path))
    assert json.loads(printed(capsys, tmp_path, "--json")).keys() == {"adapters"}
    assert "tiny-random/llama" in out
    assert "compatible" not in out


def test_three_adapters(tmp_path, capsys):
    folders = list(three(tmp_path, write_lora).values())
    out = printed(capsys, *folders)
    assert "compatible" in out
    assert "(Rt - Rs) ~ T" in out
    assert "would merge 4 modules of LORA" in out


def test_what_does_not_fit_is_said(tmp_path, capsys):
    folders = list(three(tmp_path, write_lora).values())
    edit_config(folders[2], base_model_name_or_path="other/[bold]model")
    out = printed(capsys, *folders)
    # The name comes from a file: it is printed as it is, never as markup.
    assert "not compatible" in out
    assert "[bold]" in out.replace("\n", "")
    assert "not compatible" not in printed(capsys, *folders, "--allow-different-base")


def test_nothing_is_written(tmp_path, capsys):
    folders = list(three(tmp_path).values())
    before = snapshot(tmp_path)
    printed(capsys, *folders)
    assert snapshot(tmp_path) == before


def test_numbers_that_are_not_finite_are_an_error(tmp_path, capsys):
    folder = write_lora(tmp_path)
    name = f"{PREFIX}.0.self_attn.q_proj.lora_A.weight"
    edit_tensors(folder, {name: np.full((2, 8), np.nan)})
    assert main(["inspect", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(folder / "adapter_model.safetensors") in err
    assert name in err


@pytest.mark.parametrize("call", [[], ["/nowhere"], ["--json"]], ids=str)
def test_without_an_adapter(capsys, call):
    assert main(["inspect", *call]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
