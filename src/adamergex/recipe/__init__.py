"""What an experiment is: the model, the languages, the tasks, the training."""

from adamergex.recipe.schema import DEMO, Recipe

__all__ = ["DEMO", "Recipe"]
