"""Patterns of modules: PEFT's meaning, and only those whose cost is known."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.checkpoint import open_checkpoint
from adamergex.checkpoint.patterns import checked_pattern, matches, ways
from adamergex.errors import InputError
from tests.support.folders import PREFIX, edit_config, edit_tensors, write_lora
from tests.support.hostile import watched


def refused(folder):
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


PATTERNS = st.text(st.sampled_from("ab.*+?|()[]{}12,^$\\d"), max_size=12)
MODULES = st.text(st.sampled_from("ab."), min_size=1, max_size=14)


@given(PATTERNS, MODULES)
def test_a_pattern_that_is_taken_matches_as_pefts_and_costs_what_is_said(pattern, module):
    try:
        checked_pattern(pattern)
    except ValueError:
        return
    assert matches(pattern, module) == bool(re.match(rf"(.*\.)?({pattern})$", module))
    assert ways(pattern, len(module), module.count(".") + 1) >= 1


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a*)*", "(a|a)*b", r"(a)\1", "(?=a+)", "(a+){9}", "(?i)a"]
)
def test_a_pattern_with_endless_ways_to_match_is_refused(tmp_path, pattern):
    assert "rank_pattern" in refused(edit_config(write_lora(tmp_path), rank_pattern={pattern: 2}))


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj",
        r".*\.q_proj",
        r"layers\.(0|1|2)\.self_attn\.[qk]_proj",
        r"model\.layers\.\d+\..*_proj",
        "^model.layers.[0-9]{1,2}.mlp",
    ],
)
def test_the_patterns_that_people_write_are_read(tmp_path, pattern):
    open_checkpoint(edit_config(write_lora(tmp_path), alpha_pattern={pattern: 2}))


def test_patterns_that_would_take_an_hour_together_are_refused(tmp_path):
    module = "a" * 120
    folder = edit_config(write_lora(tmp_path), rank_pattern={f"a*a*a*a*a*{i}": 2 for i in range(9)})
    edit_tensors(folder, {
        f"{module}.lora_A.weight": np.ones((2, 8)), f"{module}.lora_B.weight": np.ones((8, 2)),
    })  # fmt: skip
    assert "ways to match; needed at most 1e+09 ways" in refused(folder)


def test_a_thousand_patterns_and_modules_take_seconds(tmp_path):
    """As a method that gives each module a rank of its own writes them."""
    names = [f"{PREFIX}.{i}.q_proj" for i in range(1000)]
    config = {"rank_pattern": {name.removeprefix("base_model.model."): 2 for name in names}}
    tensors = {
        f"{name}.lora_{part}.weight": np.ones(shape, np.float16)
        for name in names
        for part, shape in (("A", (2, 1)), ("B", (1, 2)))
    }
    folder = write_lora(tmp_path, **config)
    edit_tensors(
        folder, {**dict.fromkeys(open_checkpoint(write_lora(tmp_path / "x")).tensors), **tensors}
    )
    code = "from adamergex.checkpoint import *; import sys; open_checkpoint(sys.argv[1])"
    said, peak = watched(code, folder, seconds=60)
    assert (said, peak < 1024) == ("", True)
