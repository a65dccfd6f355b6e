"""AriMerge: composing adapters by arithmetic on their factors (arXiv 2306.14870), analogy form."""

from adamergex.methods.rows import Row
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["arimerge"]

_LEAST = 0.84
"""The smallest c0 that the authors' script tries; the largest is 1, which is T."""


def arimerge(shop: Workshop, target: str) -> list[Row]:
    """LoRA: A = c0 A_T + c1 (A_Rt + A_Rs), B = c0 B_T + c1 (B_Rt - B_Rs): only B is negated.

    As in the authors' code c0 + c1 = 1, and c0 is between 1 and 0.84: t goes all the way in as many
    steps as other methods have.
    """
    reference = shop.recipe.reference[0]
    inputs = shop.references(reference, target)

    def made(t: float) -> Step:
        config = {"c0": 1 - t * (1 - _LEAST)}
        return Step("arimerge", config, inputs, label=f"arimerge t={t:g}, {target}")

    return [Row("arimerge", reference.title, shop.settings(made))]
