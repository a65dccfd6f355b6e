"""Atheris: any text as a recipe is a recipe that can be written down, or an InputError.

The same text is read as a task's file too.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["adamergex", "yaml"]):
    from adamergex.errors import InputError
    from adamergex.recipe import load_recipe
    from adamergex.step import Step
    from adamergex.tasks.spec import find_task

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-recipe-"))


def one_input(data: bytes) -> None:
    """Raises whatever is not an InputError; also where anything was written."""
    (FOLDER / "any.yaml").write_bytes(data)
    with contextlib.suppress(InputError):
        recipe = load_recipe(FOLDER / "any.yaml")
        # What is loaded can be a step's config.
        assert Step("fuzz", recipe.model_dump(mode="json", by_alias=True)).fingerprint
    with contextlib.suppress(InputError):
        assert Step("fuzz", find_task("any.yaml", FOLDER).in_language("en")).fingerprint
    assert [path.name for path in FOLDER.iterdir()] == ["any.yaml"], "something was written"


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
