"""LT-SFT: sparse fine-tunings of task and language, added (arXiv 2110.07560)."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["lt_sft"]


def lt_sft(shop: Workshop, target: str) -> list[Row]:
    """The model fine-tuned in few weights, twice: for the task and for the language.

    As published, the task is learnt on top of the source language's fine-tuning. Embeddings stay as
    they are (see train.sparse); the text is that of the first reference task.
    """
    recipe, reference = shop.recipe, shop.recipe.reference[0]
    overrides = recipe.training.per_step.lt_sft.given()

    def language(code: str) -> Step:
        rows = shop.catalog.plain(reference, code)
        return shop.sparse(rows, f"sparsely, {code} text", reference.training.given() | overrides)

    rows = shop.catalog.rows(shop.task, recipe.source, "train")
    given = recipe.training.per_step.task.given() | overrides
    task = shop.sparse(rows, f"sparsely, {shop.task.name}", given, language(recipe.source))
    inputs = {"task": task, "language": language(target)}
    added = Step("add-sparse", {}, inputs, label=f"lt-sft, {target}")
    return [Row("lt-sft", "", (Setting(1.0, "target language", added),))]
