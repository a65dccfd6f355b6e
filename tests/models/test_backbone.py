"""Which models are taken: losses and scores use the output weights and nothing else."""

import json
import shutil

import pytest

from adamergex.errors import InputError
from adamergex.models import backbone


def test_a_model_that_bends_its_logits_is_refused(tiny_folder, tmp_path):
    """Gemma 2 passes its logits through a tanh: scores without it would be wrong without a word."""
    folder = tmp_path / "capped"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": 30.0}))
    with pytest.raises(InputError, match=r"capped: final_logit_softcapping: found 30\.0"):
        backbone(str(folder))
