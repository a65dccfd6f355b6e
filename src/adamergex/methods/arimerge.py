"""AriMerge: composing adapters by arithmetic on their factors (arXiv 2306.14870), analogy form."""

from adamergex.methods.rows import Row, Setting, Workshop
from adamergex.step import Step

__all__ = ["arimerge"]


def arimerge(shop: Workshop, target: str) -> list[Row]:
    """A = A_T + c (A_Rt + A_Rs), B = B_T + c (B_Rt - B_Rs): only B is negated.

    The publication tunes two coefficients; here that of T is 1 and c is chosen on dev, so that
    c = 0 is T.
    """
    source = shop.recipe.source
    task = shop.task_adapter(source)
    name = shop.recipe.references[0]
    inputs = {
        "task": task,
        "reference_target": shop.reference(name, target),
        "reference_source": shop.reference(name, source),
    }
    tried = [Setting(0.0, "c=0", task)]
    for c in shop.recipe.scales:
        step = Step("arimerge", {"c": c}, inputs, label=f"arimerge c={c:g}, {target}")
        tried.append(Setting(c, f"c={c:g}", step))
    return [Row("arimerge", name, tuple(tried))]
