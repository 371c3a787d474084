"""Recipes of named lists, as requests ask for them."""

from typing import TYPE_CHECKING

from recsys_client.schemas.recipes import RecipeRequest

if TYPE_CHECKING:
    from recsys.serving.recipes.recipe import Recipe


def recipe_of(request: RecipeRequest) -> "Recipe":
    """Return the recipe of a request."""
    # all of them bring torch, for which BentoML's supervisor has no use
    from recsys.serving.recipes.because_you_liked import BecauseYouLiked
    from recsys.serving.recipes.bought_together import BoughtTogether
    from recsys.serving.recipes.buy_again import BuyAgain
    from recsys.serving.recipes.for_you import ForYou
    from recsys.serving.recipes.new_arrivals import NewArrivals
    from recsys.serving.recipes.popular import Popular
    from recsys.serving.recipes.recently_viewed import RecentlyViewed
    from recsys.serving.recipes.trending import Trending

    there_are: tuple[type[Recipe], ...] = (
        BecauseYouLiked,
        BoughtTogether,
        BuyAgain,
        ForYou,
        NewArrivals,
        Popular,
        RecentlyViewed,
        Trending,
    )
    return {one.name: one for one in there_are}[request.recipe](**request.own)
