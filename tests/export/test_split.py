"""T and the divergence apart: for every t their sum is the merge."""

import ml_dtypes
import numpy as np
import pytest

from adamergex import merge
from adamergex.cli import main
from adamergex.errors import InputError
from adamergex.export import export_split
from tests.support.folders import config_of, dense_updates, snapshot, three, write_ia3, write_lora


@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16])
def test_scaled_on_a_server_they_are_the_merge(tmp_path, dtype):
    inputs = three(tmp_path, write_lora, lora_alpha=3, dtype=dtype)
    write_lora(inputs["reference_target"], 1, r=3, use_rslora=True, dtype=dtype)
    export_split(*map(str, inputs.values()), tmp_path / "out")
    task, divergence = (dense_updates(tmp_path / "out" / x) for x in ("task", "divergence"))
    assert (config_of(tmp_path / "out" / "task")["r"]) == 2
    for i, t in enumerate((0.0, 0.3, 1.0, -2.0)):
        merge(**inputs, scale=t).save(tmp_path / str(i))
        for module, wanted in dense_updates(tmp_path / str(i)).items():
            found = task[module] + t * divergence[module]
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_the_command(tmp_path, capsys):
    inputs = [str(folder) for folder in three(tmp_path / "in").values()]
    call = ["export", *inputs, "--to", "split", "--output", str(tmp_path / "out")]
    assert main(call) == 0
    out = capsys.readouterr().out
    assert "the scale of the second is t" in out
    assert f"{tmp_path / 'out' / 'divergence'}: rank 4, float32" in out
    before = snapshot(tmp_path)
    assert main(call) == 2
    assert main([*call[:2], *call[4:]]) == 2
    assert snapshot(tmp_path) == before
    assert main([*call, "--overwrite"]) == 0
    assert snapshot(tmp_path) == before


def test_only_changes_that_add_up_are_split(tmp_path):
    inputs = three(tmp_path, write_ia3)
    with pytest.raises(InputError, match="found IA3; needed LORA"):
        export_split(*map(str, inputs.values()), tmp_path / "out")
    assert not (tmp_path / "out").exists()
