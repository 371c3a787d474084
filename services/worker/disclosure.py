"""What a list may tell a key without ``admin`` about the user whom it is for.

A list leaves out what its user has seen, all of it or some, and in any case what the user dislikes, so whoever chooses
which items are compared learns from what is missing. A key that may ask for everybody's lists can therefore find out
what somebody did, and no rule here changes that. What the rules do: it takes many broad lists instead of one question,
and each of them is written down with the key that asked, whatever ``record`` says.

A boost puts what it matches before all others, and its absence then tells as much as a filter's. So its condition may
not name items either, and the dials together move as many items alike as a filter must leave (``Dials.levelled``):
two conditions that one item alone meets, or a margin that it alone has, do not make it stand out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys.config import NEGATIVE
from recsys.data.columns import ITEM_ID
from recsys_client.schemas.problems import Code
from recsys_client.schemas.recommend import DialledOptions, ListOptions, UserOrHistory
from services.edge.problems import Refused
from services.worker.answering import refusing

if TYPE_CHECKING:
    from recsys.serving.recipes.recipe import Recipe
    from recsys.serving.recommender import Recommender

LEAST_OFFERED = 10  # items among which a list is chosen, where what was seen is left out
MOST_EXCLUDED = 100  # ids that a list may leave out as well
TELLS = "What is missing from the list would tell what its user has seen, which needs the scope admin. "


def check_disclosure(
    recommender: "Recommender", options: ListOptions, users: Sequence[UserOrHistory], reads: bool
) -> None:
    """Check that lists do not single out items that their users may have seen.

    Args:
        recommender: that answers.
        options: what the lists shall be like.
        users: whom they are for; who is given by a history tells nothing that the caller does not know.
        reads: whether the caller may be told what a user did.

    Raises:
        Refused: 403, the filter or a boost names items by id, or the filter and the exclusions leave few, or the
            exclusions are many; 422, the filter does not fit the catalogue.
    """
    if not withheld(recommender, options, reads) or all(user.user_id is None for user in users):
        return
    instead = TELLS + ("Ask by history." if _dislikes(recommender) else "Ask with exclude_seen: false, or by history.")
    if len(options.exclude_ids) > MOST_EXCLUDED:
        detail = f"body.exclude_ids: there are more than {MOST_EXCLUDED}. {instead}"
        raise Refused(Code.TELLS_HISTORY, detail, pointer="/exclude_ids")
    with refusing(recommender, options.fields):
        offered = recommender.catalogue.allowed(options.filter)
    boosts = options.boosts if isinstance(options, DialledOptions) else []
    named = {"filter": options.filter} | {f"boosts.{number}.filter": one.filter for number, one in enumerate(boosts)}
    for option, condition in named.items():
        if ITEM_ID in set(_fields(condition)):
            detail = f"body.{option}: it names items by {ITEM_ID}. {instead}"
            raise Refused(Code.TELLS_HISTORY, detail, pointer=f"/{option.replace('.', '/')}")
    least = min(LEAST_OFFERED, int(recommender.catalogue.available.sum()))
    offered[recommender.catalogue.split(options.exclude_ids)[0]] = False
    if offered.sum() < least:
        detail = f"body.filter: fewer than {LEAST_OFFERED} items are left to choose from. {instead}"
        raise Refused(Code.TELLS_HISTORY, detail, pointer="/filter")


def check_list(recommender: "Recommender", recipe: "Recipe", user: UserOrHistory, reads: bool) -> None:
    """Check that a named list may be told to the caller, and is about an item that there is.

    Raises:
        Refused: 403, the list is what its user did, or names an item of it; 404, it is about an item that the catalogue
            does not hold.
    """
    if recipe.is_history and user.user_id is not None and not reads:
        detail = f"{recipe.name} tells what its user did, which needs the scope admin. Ask by history instead."
        raise Refused(Code.TELLS_HISTORY, detail)
    unknown = recommender.catalogue.existing(recipe.item_ids)[1]
    if len(unknown) == len(recipe.item_ids) > 0:
        detail = f"There is no item {unknown[0]!r} in generation {recommender.generation_id}."
        raise Refused(Code.UNKNOWN_ITEM, detail)


def withheld(recommender: "Recommender", options: ListOptions, reads: bool) -> bool:
    """Tell whether a list leaves out what its caller may not be told: what its user has seen, or dislikes."""
    kept = options.exclude_seen is False or (options.exclude_seen is None and recommender.scoring.system.repeats)
    return not reads and (not kept or _dislikes(recommender))


def _dislikes(recommender: "Recommender") -> bool:
    return recommender.signals is not None and NEGATIVE in recommender.signals.roles


def _fields(condition: Any) -> Iterator[str]:
    """Return the fields that a filter asks about, at any depth."""
    if isinstance(condition, Mapping):
        if isinstance(condition.get("field"), str):
            yield condition["field"]
        for value in condition.values():
            yield from _fields(value)
    elif isinstance(condition, list):
        for value in condition:
            yield from _fields(value)
