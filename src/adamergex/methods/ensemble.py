"""An ensemble: T and label projection asked both, and the mean of what they answer."""

from adamergex.methods.projection import projection_from_t
from adamergex.methods.rows import Row, Setting
from adamergex.methods.workshop import Workshop

__all__ = ["ensemble"]


def ensemble(shop: Workshop, target: str) -> list[Row]:
    """The mean over T and `projection-from-t` of the probabilities of each choice.

    What merging saves: it is two models at scoring, and no adapter.
    """
    (projected,) = projection_from_t(shop, target)
    adapter = projected.settings[0].adapter
    assert adapter is not None
    members = (shop.task_adapter(shop.recipe.source), adapter)
    setting = Setting(0.0, "mean of probabilities", None)
    return [Row("ensemble", "T, projection-from-t", (setting,), members=members)]
