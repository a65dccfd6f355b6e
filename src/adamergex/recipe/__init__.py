"""What an experiment is: the model, the languages, the tasks, the training."""

from adamergex.recipe.bases import ModelKwargs, PlacedModelKwargs
from adamergex.recipe.loading import (
    demo_recipe,
    load_recipe,
    placed_model_kwargs,
    recipe_from,
)
from adamergex.recipe.plain_yaml import read_yaml
from adamergex.recipe.schema import DataFiles, Recipe, Reference, Samples

__all__ = [
    "DataFiles",
    "ModelKwargs",
    "PlacedModelKwargs",
    "Recipe",
    "Reference",
    "Samples",
    "demo_recipe",
    "load_recipe",
    "placed_model_kwargs",
    "read_yaml",
    "recipe_from",
]
