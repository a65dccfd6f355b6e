"""Layer swapping: the outer layers from the language expert, the inner from the task's."""

from adamergex.methods.rows import Row
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["layer_swapping"]


def layer_swapping(shop: Workshop, target: str) -> list[Row]:
    """The lowest and highest layers of Rt in place of T's (arXiv 2410.01335); t is their share.

    The publication swaps layers of fully fine-tuned models; here they are those of adapters.
    """
    reference = shop.recipe.reference[0]
    roles = shop.references(reference, target)
    inputs = {role: roles[role] for role in ("task", "reference_target")}

    def made(t: float) -> Step:
        return Step("layer-swap", {"scale": t}, inputs, label=f"layer swap t={t:g}, {target}")

    return [Row("layer-swapping", reference.title, shop.settings(made))]
