"""MAD-X: a task adapter on top of language adapters that are exchanged (arXiv 2005.00052)."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["madx"]


def madx(shop: Workshop, target: str) -> list[Row]:
    """The task learnt on the frozen language adapter of the source, used on that of the target.

    The publication has bottleneck adapters and invertible ones at the embeddings; here both kinds
    are LoRA, so that the stack is a sum of weight updates and one adapter again. Language adapters
    learn the text of the first reference task by language modelling.
    """
    recipe, reference = shop.recipe, shop.recipe.reference[0]

    def language(code: str) -> Step:
        rows = shop.catalog.plain(reference, code)
        return shop.trained(rows, f"language adapter, {code}", reference.training.given())

    rows = shop.catalog.rows(shop.task, recipe.source, "train")
    overrides = recipe.training.per_step.task.given() | recipe.training.per_step.madx.given()
    label = f"{shop.task.name} on the language adapter of {recipe.source}"
    task = shop.trained(rows, label, overrides, beneath=language(recipe.source))
    config = {"rule": "madx", "weights": {"task": 1.0, "language": 1.0}, "scale": 1.0}
    inputs = {"task": task, "language": language(target)}
    stacked = Step("weighted", config, inputs, label=f"madx, {target}")
    return [Row("madx", "", (Setting(1.0, "target language adapter", stacked),))]
