"""`adamergex preview` where there is nothing to show."""

import pytest
import yaml

from adamergex.cli import main


@pytest.mark.parametrize(
    ("reference", "text"), [("causal-lm", "\n \n"), ("causal-lm", ""), ("cloze", "12\n34\n")]
)
def test_a_text_without_a_row_is_a_mistake_that_is_named(
    tiny_folder, tmp_path, capsys, reference, text
):
    (tmp_path / "en.txt").write_text(text, encoding="utf-8")
    recipe = {
        "model": str(tiny_folder),
        "source": "en",
        "targets": ["tr"],
        "tasks": ["emoji"],
        "reference": [{"task": reference, "text": "{language}.txt"}],
        "max_samples": {"train": 4},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["preview", str(tmp_path / "recipe.yaml")]) == 2
    out, err = capsys.readouterr()
    assert "emoji, en: 4 rows" in out
    needed = "at least one: is the text blank?"
    assert err == f"adamergex: error: {reference}, en: rows: found 0; needed {needed}\n"
