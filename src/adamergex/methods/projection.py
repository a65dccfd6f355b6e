"""Label projection: T labels the source side of parallel text, the target side is trained on."""

from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop

__all__ = ["projection"]


def projection(shop: Workshop, target: str) -> list[Row]:
    """The fair rival wherever the text of the reference task is parallel.

    It sees the text of the first reference task, and no gold label beyond those that trained T.
    """
    reference = shop.recipe.reference[0]
    labels = shop.labels(reference, shop.recipe.source)
    rows = shop.unlabelled(reference, target, projected=True)
    overrides = shop.recipe.training.per_step.projection.given()
    label = f"{shop.task.name}, projected labels, {target}"
    adapter = shop.trained(rows, label, overrides, labels=labels)
    return [Row("projection", "parallel text", (Setting(0.0, "labels of T", adapter),))]
