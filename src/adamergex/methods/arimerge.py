"""AriMerge: composing adapters by arithmetic on their factors (arXiv 2306.14870), analogy form."""

from adamergex.methods.rows import Row
from adamergex.methods.workshop import Workshop
from adamergex.step import Step

__all__ = ["arimerge"]


def arimerge(shop: Workshop, target: str) -> list[Row]:
    """LoRA: A = A_T + c (A_Rt + A_Rs), B = B_T + c (B_Rt - B_Rs): only B is negated.

    The publication tunes two coefficients; here that of T is 1, so that c = 0 is T.
    """
    reference = shop.recipe.reference[0]
    inputs = shop.references(reference, target)

    def made(c: float) -> Step:
        return Step("arimerge", {"c": c}, inputs, label=f"arimerge c={c:g}, {target}")

    return [Row("arimerge", reference.title, shop.settings(made, "c"))]
