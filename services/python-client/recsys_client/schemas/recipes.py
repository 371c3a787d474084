"""Named lists of a shop: what each may be asked, and its answer."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from recsys_client.schemas.fields import Flag, Id, Never, Request, WholeDays
from recsys_client.schemas.recommend import (
    AT_MOST_ONE,
    EXACTLY_ONE,
    MAX_HISTORY,
    By,
    ListOptions,
    RecommendAnswer,
    UserOrHistory,
)

MAX_BASKET = 50
DAYS_OR_SEGMENT = "give days or segment: people alike are counted over all of time"


def _examples(*bodies: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra=AT_MOST_ONE | {"examples": list(bodies)})


class Anybody(Request):
    """Who a list is for: a user by user_id, a history, or whoever comes, where neither is given."""

    user_id: Id | None = Field(None, description="Whose seen items are left out; nobody's, where left out.")
    history: Annotated[list[Id], Field(fail_fast=True, max_length=MAX_HISTORY)] | None = Field(
        None, description="Item ids, oldest first, of somebody without an account."
    )

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.user_id is not None and self.history is not None:
            raise PydanticCustomError("at_most_one", "give user_id or history, not both")
        return self


class RecipeRequest(Anybody, ListOptions):
    """A named list: who it is for, and what it shall be like.

    Attributes:
        recipe: its name, as in its route.
    """

    recipe: ClassVar[str]

    @property
    def whom(self) -> UserOrHistory:
        """Who the list is for; whoever comes has an empty history."""
        nobody = self.user_id is None and self.history is None
        return UserOrHistory(user_id=self.user_id, history=[] if nobody else self.history)

    @property
    def own(self) -> dict[str, Any]:
        """What is asked of this recipe and of no other."""
        common = set(Anybody.model_fields) | set(ListOptions.model_fields)
        return self.model_dump(exclude=common)


class BecauseYouLikedRequest(RecipeRequest):
    """What is like one item of the user's history, which the answer names; what is popular, where nothing is known."""

    model_config = _examples({"user_id": "196", "k": 5}, {"history": ["50", "181"]})
    recipe: ClassVar[str] = "because-you-liked"

    item_id: Id | None = Field(
        None,
        description="The item; of the history the newest that ten people chose, if left out. Then, for a user_id, the "
        "list needs the scope admin: it tells what its user did.",
    )
    by: By = Field("both", description="What alike means, as of /v1/similar.")


class BoughtTogetherRequest(RecipeRequest):
    """What goes with some items, as baskets show it, rather than in their place."""

    model_config = _examples({"item_ids": ["50", "181"], "k": 5, "explain": True})
    recipe: ClassVar[str] = "bought-together"

    item_ids: list[Id] = Field(
        fail_fast=True, min_length=1, max_length=MAX_BASKET, description="An item, or what is in the basket already."
    )
    days: WholeDays = Field(
        1, description="A basket is what one user took without a pause of so many days: more where people buy rarely."
    )


class BuyAgainRequest(UserOrHistory, RecipeRequest):
    """What a user is likely to take once more about now, at each item's own pace. A user_id needs the scope admin."""

    model_config = ConfigDict(
        json_schema_extra=EXACTLY_ONE | {"examples": [{"user_id": "196", "k": 5}, {"history": ["50", "181", "50"]}]}
    )
    recipe: ClassVar[str] = "buy-again"

    exclude_seen: Never = Field(False, description="What was seen is what this list is of.")


class NewArrivalsRequest(RecipeRequest):
    """What has come lately: by the user's own ranking, and newest first for whoever is not known."""

    model_config = _examples({"user_id": "196", "days": 60, "k": 5})
    recipe: ClassVar[str] = "new-arrivals"

    days: WholeDays = Field(30, description="How old the items are at most, counted back from as_of.")
    column: Id | None = Field(
        None,
        description="The item column that says when items came: dates, times or years. Without, an item came with its "
        "first event or, if it has none, at updated_at; live items that the snapshot lacks are the newest.",
    )


class RecentlyViewedRequest(UserOrHistory, RecipeRequest):
    """What a user chose last, newest first, live events among it. For a user_id it needs the scope admin."""

    model_config = ConfigDict(
        json_schema_extra=EXACTLY_ONE | {"examples": [{"user_id": "196", "k": 5}, {"history": ["50", "181"]}]}
    )
    recipe: ClassVar[str] = "recently-viewed"

    exclude_seen: Never = Field(False, description="What was seen is what this list is of.")


class PopularRequest(RecipeRequest):
    """What most people chose: ever, or in some days."""

    model_config = _examples({"days": 30, "k": 5, "filter": {"field": "genres", "contains": "Comedy"}})
    recipe: ClassVar[str] = "popular"

    days: WholeDays | None = Field(
        None, description="Before the newest event of the snapshot; all of time, if left out."
    )
    segment: Flag = Field(
        False,
        description="What people with the user's attributes choose, and in the situation of context, over all of time: "
        "fallback says segment then, and popular where nothing is known of either. Not beside days.",
    )

    @model_validator(mode="after")
    def _over_all_of_time(self) -> Self:
        if self.segment and self.days is not None:
            raise PydanticCustomError("days_or_segment", DAYS_OR_SEGMENT)
        return self


class TrendingRequest(RecipeRequest):
    """What has grown beyond chance, within what the filter lets through."""

    model_config = _examples({"days": 7, "k": 5, "explain": True})
    recipe: ClassVar[str] = "trending"

    days: WholeDays = Field(
        7,
        description="The window, up to the newest event of the snapshot; it is compared with four such windows before.",
    )
    segment: Flag = Field(
        False,
        description="Growth among people who share one of the user's attributes; with everybody, where nothing is "
        "known of them.",
    )


class ForYouRequest(RecipeRequest):
    """What suits the user, as /v1/recommend ranks it; a row of a page alone."""

    recipe: ClassVar[str] = "for-you"


class About(BaseModel):
    """The item that a whole list is about."""

    item_id: str
    title: str


class ListAnswer(RecommendAnswer):
    """A named list, best first, and where it came from."""

    recipe: str = Field(description="Which list this is.")
    title: str = Field(description="What to write above it, in English.")
    about: About | None = Field(description="The item of the history that because-you-liked is about.")
    as_of: datetime | None = Field(
        description="The newest event of the snapshot: now, to windows of time. null where times are not known."
    )


_REQUESTS: tuple[type[RecipeRequest], ...] = (
    BecauseYouLikedRequest,
    BoughtTogetherRequest,
    BuyAgainRequest,
    ForYouRequest,
    NewArrivalsRequest,
    PopularRequest,
    RecentlyViewedRequest,
    TrendingRequest,
)
RECIPES = {one.recipe: one for one in _REQUESTS}
