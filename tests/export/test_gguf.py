"""GGUF by llama.cpp's converters: what they are asked to do; with a checkout, what they make."""

import json
import os
from pathlib import Path

import pytest

from adamergex.cli import main
from tests.support.folders import snapshot, write_ia3, write_lora
from tests.support.models import QUIET

pytestmark = QUIET

STAND_IN = """import json, sys
from pathlib import Path
given = sys.argv[1:]
if given[-1].endswith("bad"):
    sys.exit("no such architecture")
Path(given[given.index("--outfile") + 1]).write_text(json.dumps(given))
"""


@pytest.fixture
def checkout(tmp_path):
    """Scripts that write down how they were called."""
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    for name in ("convert_lora_to_gguf.py", "convert_hf_to_gguf.py"):
        (folder / name).write_text(STAND_IN)
    return folder


def exported(source, base, output, checkout, *more):
    call = ["export", source, "--to", "gguf", "--model", base, "--output", output,
            "--llama-cpp", checkout, *more]  # fmt: skip
    return main([str(x) for x in call])


def test_adapter_base_and_modelfile(tmp_path, checkout, capsys):
    adapter, base, output = write_lora(tmp_path / "a"), tmp_path / "base", tmp_path / "out"
    base.mkdir()
    assert exported(adapter, base, output, checkout) == 0
    assert {path.name for path in output.iterdir()} == {"Modelfile", "adapter.gguf", "base.gguf"}
    assert (output / "Modelfile").read_text() == "FROM ./base.gguf\nADAPTER ./adapter.gguf\n"
    call = json.loads((output / "adapter.gguf").read_text())
    assert (call[call.index("--base") + 1], call[-1]) == (str(base), str(adapter))
    assert json.loads((output / "base.gguf").read_text())[-1] == str(base)
    assert str(output / "adapter.gguf") in capsys.readouterr().out


def test_a_whole_model(tmp_path, checkout):
    model, output = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert exported(model, model, output, checkout) == 0
    assert (output / "Modelfile").read_text() == "FROM ./model.gguf\n"
    assert json.loads((output / "model.gguf").read_text())[-1] == str(model)


def test_what_llama_cpp_does_not_take_is_refused(tmp_path, checkout, capsys):
    adapter = write_ia3(tmp_path / "a")
    before = snapshot(adapter)
    assert exported(adapter, tmp_path, tmp_path / "out", checkout) == 2
    assert "it serves LoRA, not IA3" in capsys.readouterr().err
    assert exported(write_lora(tmp_path / "b"), tmp_path, tmp_path / "out", tmp_path) == 2
    assert "git clone" in capsys.readouterr().err
    assert snapshot(adapter) == before
    assert not (tmp_path / "out").exists()


def test_a_converter_that_fails_leaves_nothing(tmp_path, checkout, capsys):
    (tmp_path / "bad").mkdir()
    assert exported(write_lora(tmp_path / "a"), tmp_path / "bad", tmp_path / "out", checkout) == 1
    assert "convert_hf_to_gguf.py failed: no such architecture" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif("ADAMERGEX_LLAMA_CPP" not in os.environ, reason="no $ADAMERGEX_LLAMA_CPP")
def test_the_converters_themselves(tmp_path):
    """On the built-in model: every factor of the adapter is in the file, with its values."""
    import numpy as np
    import peft
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    from adamergex.models import BUILTIN, prepared
    from tests.support.folders import stored_tensors
    from tests.support.models import randomised

    model = AutoModelForCausalLM.from_pretrained(prepared(), dtype=torch.float32)
    config = peft.LoraConfig(
        r=4, lora_alpha=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    adapter = tmp_path / "adapter"
    randomised(peft.get_peft_model(model, config), 0).save_pretrained(adapter)
    checkout = Path(os.environ["ADAMERGEX_LLAMA_CPP"])
    assert exported(adapter, BUILTIN, tmp_path / "out", checkout) == 0
    reader = GGUFReader(tmp_path / "out" / "adapter.gguf")
    stored = stored_tensors(adapter, np.float32)
    assert len(reader.tensors) == len(stored)
    sums = sorted(float(np.abs(x).sum()) for x in stored.values())
    found = sorted(float(np.abs(x.data.astype(np.float32)).sum()) for x in reader.tensors)
    np.testing.assert_allclose(found, sums, rtol=1e-3)
    base = {x.name for x in GGUFReader(tmp_path / "out" / "base.gguf").tensors}
    assert {x.name.removesuffix(".lora_a").removesuffix(".lora_b") for x in reader.tensors} <= base
