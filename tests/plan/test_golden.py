"""Fingerprints of whole plans, as users' stores know them.

A change here makes the steps of every store run again. Where it is meant, because a step gives
another result, that step's version is raised and new digests are written here; else it is a fault.
"""

import hashlib

import pytest

from adamergex.plan import planned
from tests.plan.test_experiment import local_recipe, steps

GOLDEN = {
    "causal-lm": {
        "geometry": (1, "bbfaa7e03d8905d2"),
        "merge": (4, "28c6a511dd33032e"),
        "model": (1, "f2db110f9efc98b7"),
        "results": (1, "b8a344976b37b4eb"),
        "score": (9, "543565c61b58067e"),
        "select": (1, "5b8ffe0432c99a7a"),
        "train": (3, "2c9f5da1e39291b3"),
    },
    "distillation": {
        "distil": (1, "9e402e15a2e5799a"),
        "geometry": (1, "0a45a7bda2f21b8d"),
        "merge": (4, "4be1ca560b8ff0a5"),
        "model": (1, "f2db110f9efc98b7"),
        "results": (1, "2a56fb3c3a2712b3"),
        "score": (9, "9895c1e4c4e9d218"),
        "select": (1, "eb345db7574b6778"),
        "teach": (1, "ce9e01c2259d47e7"),
        "train": (1, "d7fd62cbc2bfbd57"),
    },
}


@pytest.mark.parametrize("reference", GOLDEN)
def test_every_kind_of_step_has_the_fingerprints_that_stores_know(reference, tmp_path):
    recipe = local_recipe(
        tmp_path,
        reference={"task": reference, "text": "{language}.txt"},
        methods=["zero-shot", "source-ft", "adamergex"],
    )
    plan = steps(planned(recipe))
    found = {}
    for kind in sorted({step.kind for step in plan}):
        prints = sorted(step.fingerprint for step in plan if step.kind == kind)
        found[kind] = (len(prints), hashlib.sha256("".join(prints).encode()).hexdigest()[:16])
    assert found == GOLDEN[reference]
