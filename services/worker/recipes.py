"""Recipes of named lists, as requests ask for them."""

from typing import TYPE_CHECKING

from recsys_client.schemas.recipes import RecipeRequest

if TYPE_CHECKING:
    from recsys.serving.recipes.recipe import Recipe


def recipe_of(request: RecipeRequest) -> "Recipe":
    """Return the recipe of a request."""
    from recsys.serving.recipes.named import recipe  # brings torch, for which BentoML's supervisor has no use

    return recipe(request.recipe, **request.own)
