"""What a request wants of a list, as a generation is asked. Needs nothing of a worker but what new items were shown."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recsys.selection.dials import Boost, Objective
from recsys.selection.selection import Promotion
from recsys_client.schemas.dials import NewBoost, NewObjective
from recsys_client.schemas.recommend import DialledOptions, FromModel, ListOptions, SeenOptions

if TYPE_CHECKING:
    from recsys.ranking.exploration import Exposure
    from recsys.serving.answers import ListRequest


def asked(
    options: ListOptions, now: int | None, exposures: "Callable[[], Mapping[str, Exposure]]", least_alike: int = 1
) -> "ListRequest":
    """Return what a request wants of a list.

    Args:
        options: the request.
        now: Unix seconds, when it asked.
        exposures: how often new items were shown, by item; called where new items are asked for.
        least_alike: see ``ListRequest``.
    """
    from recsys.serving.answers import ListRequest, NewItems, Seen  # brings torch, for which the supervisor has no use

    elsewhere = {"promotions", "record", "language", "exclude_seen"}
    of_the_list = set(ListOptions.model_fields) - set(FromModel.model_fields) - elsewhere
    given = {name: getattr(options, name) for name in of_the_list}
    seen, dialled = options.exclude_seen, {}
    if isinstance(options, DialledOptions):
        wish = options.new_items
        dialled = dials(options.boosts, options.objective)
        dialled |= {"new_items": wish and NewItems(wish.slots, wish.strength, exposures())}
    return ListRequest(
        **given,
        exclude_seen=Seen(seen.days, seen.event_types) if isinstance(seen, SeenOptions) else seen,
        promotions=[Promotion(one.item_id, one.slot) for one in options.promotions],
        **dialled,
        least_alike=least_alike,
        now=now,
    )


def dials(boosts: list[NewBoost], objective: NewObjective | None) -> dict[str, Any]:
    """Return the dials of a request as a generation is asked, by name."""
    return {
        "boosts": [Boost(one.filter, one.strength) for one in boosts],
        "objective": objective and Objective(objective.field, objective.weight),
    }
