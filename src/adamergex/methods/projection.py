"""Label projection: T labels the source side of parallel text, the target side is trained on."""

from adamergex.methods.rows import Row, Setting, Workshop

__all__ = ["projection"]


def projection(shop: Workshop, target: str) -> list[Row]:
    """The fair rival wherever the text of the reference task is parallel.

    It sees the same items as the reference tasks, and no gold label beyond those that trained T.
    """
    source = shop.recipe.source
    labels = shop.scored(shop.task_adapter(source), source, "reference", label="T for labels")
    rows = shop.task_data(target, "reference")
    adapter = shop.trained(rows, f"projected labels, {target}", labels=labels)
    return [Row("projection", "parallel text", (Setting(0.0, "labels of T", adapter),))]
