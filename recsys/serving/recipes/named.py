"""All recipes by their names."""

from dataclasses import fields
from typing import Any

from recsys.errors import RequestError
from recsys.serving.recipes.because_you_liked import BecauseYouLiked
from recsys.serving.recipes.bought_together import BoughtTogether
from recsys.serving.recipes.buy_again import BuyAgain
from recsys.serving.recipes.for_you import ForYou
from recsys.serving.recipes.new_arrivals import NewArrivals
from recsys.serving.recipes.popular import Popular
from recsys.serving.recipes.recently_viewed import RecentlyViewed
from recsys.serving.recipes.recipe import Recipe
from recsys.serving.recipes.trending import Trending

_ALL: tuple[type[Recipe], ...] = (
    BecauseYouLiked,
    BoughtTogether,
    BuyAgain,
    ForYou,
    NewArrivals,
    Popular,
    RecentlyViewed,
    Trending,
)
RECIPES = {one.name: one for one in _ALL}


def options_of(name: str) -> list[str]:
    """Return what can be asked of a recipe.

    Raises:
        RequestError: there is none of that name.
    """
    if name not in RECIPES:
        raise RequestError(f"There is no list {name!r}; there are {', '.join(RECIPES)}.")
    return [field.name for field in fields(RECIPES[name])]  # type: ignore[arg-type]  # each is a dataclass


def recipe(name: str, **options: Any) -> Recipe:
    """Return a recipe by its name.

    Raises:
        RequestError: there is none of that name, or it does not take an option.
    """
    known = options_of(name)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise RequestError(f"{name} takes no {unknown[0]!r}; it takes {', '.join(known) or 'nothing'}.")
    return RECIPES[name](**options)
