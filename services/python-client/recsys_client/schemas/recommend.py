"""Items for a user, for many users, given items in order, and items like an item: requests and answers."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from recsys_client.schemas.dials import Boosts, OptionalNewItems, OptionalObjective
from recsys_client.schemas.fields import (
    MAX_DEPTH,
    Context,
    Count,
    Days,
    Fields,
    Filter,
    Flag,
    Id,
    Number,
    Offset,
    Place,
    Request,
    by_name,
    left_out,
)
from recsys_client.schemas.lists import RankedItem, RecommendedItem

LANGUAGE = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$"
MAX_HISTORY = 1_000
MAX_EXCLUDED = 1_000
MAX_USERS = 256  # in one batch
MAX_RANKED = 1_000
MAX_LIMITS = 10
MAX_TYPES = 50  # of events, by which something was seen
MAX_PROMOTIONS = 20
MAX_EXPLAINED = 2_000  # items of one batch
MAX_WORK = 1_000  # of one batch, in units of the ranking for one user, which takes 2 to 3 ms of a processor
# What each item of a list adds to its user's unit, as measured: itself, and where it is asked for, these.
WORK_OF_AN_ITEM = 0.003
WORK_OF_DIVERSITY = 0.015
WORK_OF_LIMITS = 0.01
WORK_OF_EXPLAIN = 0.39

By = Literal["text", "behaviour", "both"]
Adapter = Annotated[
    Id | None, Field(description="The adapter that must answer, by id or alias; 404 where it is not served.")
]
Generation = Annotated[
    Id | None,
    Field(
        description="The generation that must answer, by id or alias, also where one adapter made several; 404 where "
        "there is none."
    ),
]
Fallback = Annotated[
    str | None,
    Field(
        description="Which link of the chain answered. null: the list was ranked for this user. filled: what is "
        "known of the user did not fill the list, so what is popular completes it. segment: the user has done nothing, "
        "so these are the favourites of people with such attributes. popular: nothing usable is known, so these are "
        "everybody's favourites. degraded: the database cannot be read, so nobody's history is known and "
        "everybody gets the favourites until it can."
    ),
]
MissingIds = Annotated[list[str], Field(description="Ids of the request that the catalogue does not hold.")]


Explain = Annotated[
    Flag,
    Field(
        description="Say why, in sentences and in parts that add up to each score. What a user_id did is named to keys "
        "with the scope admin alone: others get the same sums, with the history's items under other_history."
    ),
]


Language = Annotated[
    Annotated[str, StringConstraints(pattern=LANGUAGE, max_length=35)] | None,
    Field(
        description="Of the reasons, as in BCP 47: de-AT is answered in de where there is no de-AT, and what the "
        "service has no sentences for in English. explanation.reasons says the same in codes."
    ),
]


class FromModel(Request):
    """Which model must answer; what serves, unless one is named."""

    adapter: Adapter = None
    generation: Generation = None


_GIVEN: dict[str, JsonValue] = {"not": {"type": "null"}}
# Of the ways to say so the one that generators of clients pass over; of oneOf they make types without the other fields.
# What is said of one field says nothing of others (additionalProperties), which some that check examples take it to do.
EXACTLY_ONE: dict[str, JsonValue] = {
    "if": {"required": ["user_id"], "properties": {"user_id": _GIVEN}, "additionalProperties": True},
    "then": {"properties": {"history": {"type": "null"}}, "additionalProperties": True},
    "else": {"required": ["history"], "properties": {"history": _GIVEN}, "additionalProperties": True},
}

AT_MOST_ONE: dict[str, JsonValue] = {
    "if": {"required": ["user_id"], "properties": {"user_id": _GIVEN}, "additionalProperties": True},
    "then": {"properties": {"history": {"type": "null"}}, "additionalProperties": True},
}


class UserOrHistory(Request):
    """Who a list is for: a user by user_id, or the history of somebody without an account."""

    model_config = ConfigDict(json_schema_extra=EXACTLY_ONE)

    user_id: Id | None = Field(None, description="A user of the snapshot or of the live events.")
    history: Annotated[list[Id], Field(fail_fast=True, max_length=MAX_HISTORY)] | None = Field(
        None, description="Item ids, oldest first, of somebody without an account."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.user_id is None) == (self.history is None):
            raise PydanticCustomError("exactly_one", "give exactly one of user_id and history")
        return self


class NewPromotion(Request):
    """An item for a fixed place of the list."""

    item_id: Id
    slot: Place = Field(description="Place in the list, from 1, all pages of which count.")


class Page(FromModel):
    """Which part of a list is wanted."""

    k: Count = 10
    offset: Offset = 0

    @model_validator(mode="after")
    def _not_too_deep(self) -> Self:
        if self.offset + self.k > MAX_DEPTH:
            deep = "offset: a list has {most} items at most, so with k = {k} it is at most {last}"
            raise PydanticCustomError("too_deep", deep, {"most": MAX_DEPTH, "k": self.k, "last": MAX_DEPTH - self.k})
        return self


class SeenOptions(Request):
    """Which items of a history are left out; both together: those that both fit."""

    days: Days | None = Field(
        None, description="Only what was seen so many days ago at most; what has no time counts as just seen."
    )
    event_types: Annotated[list[Id], Field(fail_fast=True, min_length=1, max_length=MAX_TYPES)] | None = Field(
        None,
        description="Only what was seen by events of these types; a type that no event of the user has leaves nothing "
        "out.",
    )


ExcludeSeen = Annotated[
    Flag | SeenOptions | None,
    Field(
        description="Leave out what the history holds: true, all of it; false, nothing; or what was seen lately, or by "
        "some kinds of events. Where left out or null, as the generation's data suggests: everything, but where people "
        "come back to their items (a tenth of what they do or more) nothing. Dislikes are left out in any case.",
        examples=[True, {"days": 7}, {"event_types": ["purchase"]}],
    ),
]


class ListOptions(Page):
    """What a list shall be like."""

    filter: Filter = None
    exclude_seen: ExcludeSeen = None
    exclude_ids: list[Id] = Field(
        [], fail_fast=True, max_length=MAX_EXCLUDED, description="Items to leave out as well."
    )
    diversity: Number = Field(
        0.0,
        ge=0,
        le=1,
        description="0 ranks by score alone; towards 1 items that are unlike those above them move up (maximal "
        "marginal relevance).",
    )
    limits: Annotated[dict[Id, Place], Field(max_length=MAX_LIMITS)] = Field(
        {},
        json_schema_extra=by_name,
        description="How many items may hold the same value, by field; each member of a list counts. Items without a "
        "value are not limited.",
        examples=[{"year": 2}],
    )
    promotions: list[NewPromotion] = Field(
        [],
        max_length=MAX_PROMOTIONS,
        description="Items for fixed slots. A promoted item must be available, match the filter and not be excluded; "
        "otherwise its slot is an ordinary one. It is shown even if the user has seen it; diversity does not move "
        "it; it counts for limits, but is never turned away by them. In a list that is too short its slot is the end.",
        examples=[[{"item_id": "50", "slot": 1}]],
    )
    explain: Explain = False
    language: Language = None
    record: Flag = Field(
        True,
        description="Remember the list as shown to the user. Without, it leaves no impression, no shadow follows it "
        "and its rec_id tells nothing: for previews and tests. A user_id's list that is asked for without the scope "
        "admin is written down in any case, marked as not shown.",
    )
    fields: Fields = Field(["title"])
    context: Context = Field({})

    @property
    def work_of_a_list(self) -> float:
        """How much one list takes to make, in units of the ranking for one user."""
        of_an_item = WORK_OF_AN_ITEM + WORK_OF_EXPLAIN * self.explain
        chosen = WORK_OF_DIVERSITY * (self.diversity > 0) + WORK_OF_LIMITS * bool(self.limits)
        return 1 + self.k * (of_an_item + chosen) + self.offset * chosen

    @model_validator(mode="after")
    def _one_item_a_slot(self) -> Self:
        slots = [promotion.slot for promotion in self.promotions]
        if len(set(slots)) < len(slots) or len({promotion.item_id for promotion in self.promotions}) < len(slots):
            raise PydanticCustomError("own_slots", "promotions need a slot and an item each of their own")
        if max(slots, default=0) > self.offset + self.k:
            outside = "promotions: slot {slot} is outside a list of k = {k}"
            raise PydanticCustomError("slot_outside", outside, {"slot": max(slots), "k": self.k})
        return self


class DialledOptions(ListOptions):
    """What a user's own list shall be like, and what else than taste moves its items."""

    boosts: Boosts = Field([])
    objective: OptionalObjective = None
    new_items: OptionalNewItems = None


class RecommendRequest(UserOrHistory, DialledOptions):
    """Who asks, by user_id or by history, and what for."""

    model_config = ConfigDict(
        json_schema_extra=EXACTLY_ONE
        | {
            "examples": [
                {
                    "user_id": "196",
                    "k": 5,
                    "filter": {"all": [{"field": "year", "gte": 1990}, {"field": "genres", "contains": "Comedy"}]},
                    "diversity": 0.3,
                    "limits": {"year": 2},
                    "promotions": [{"item_id": "50", "slot": 1}],
                    "boosts": [{"filter": {"field": "genres", "contains": "Comedy"}, "strength": 1.5}],
                    "explain": True,
                },
                {"history": ["50", "181"], "k": 5},
            ]
        }
    )


class BatchRequest(DialledOptions):
    """Many users, and what all of their lists shall be like."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"users": [{"user_id": "196"}, {"history": ["50", "181"]}], "k": 5}]}
    )

    users: list[UserOrHistory] = Field(
        min_length=1,
        max_length=MAX_USERS,
        description="Long lists with explain, diversity or limits take longer: 422 says how many users may have them.",
    )

    @property
    def work(self) -> float:
        """How much all lists take to make, in units of the ranking for one user."""
        return len(self.users) * self.work_of_a_list

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.explain and len(self.users) * self.k > MAX_EXPLAINED:
            too_many = "explain: at most {most} items in one request, users times k"
            raise PydanticCustomError("too_much_work", too_many, {"most": f"{MAX_EXPLAINED:,}"})
        if self.work > MAX_WORK:
            fewer = int(len(self.users) * MAX_WORK / self.work)
            raise PydanticCustomError(
                "too_much_work",
                "users: lists of k = {k} with these options are too much work for {users} users at once; ask for at "
                "most {fewer}, for a smaller k, or without explain, diversity or limits",
                {"k": self.k, "users": len(self.users), "fewer": fewer},
            )
        return self


class RankRequest(UserOrHistory, FromModel):
    """A user or a history, and the items to put in order."""

    model_config = ConfigDict(
        json_schema_extra=EXACTLY_ONE | {"examples": [{"user_id": "196", "item_ids": ["50", "181", "1"]}]}
    )

    item_ids: list[Id] = Field(
        fail_fast=True, min_length=1, max_length=MAX_RANKED, description="An id that is repeated counts once."
    )
    boosts: Boosts = Field([])
    objective: OptionalObjective = None
    explain: Explain = False
    language: Language = None
    fields: Fields = Field(["title"])
    context: Context = Field({})

    @property
    def work(self) -> float:
        """How much the list takes to make, in units of the ranking for one user."""
        return 1 + len(self.item_ids) * (WORK_OF_AN_ITEM + WORK_OF_EXPLAIN * self.explain)


class SimilarRequest(Page):
    """An item, to find others like it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"item_id": "50", "k": 5}, {"item_id": "50", "by": "both"}]}
    )

    item_id: Id
    by: By | None = Field(
        None,
        description="text: by what is written of them. behaviour: by how many more people chose both than would have "
        "by chance. both: behaviour + 0.5 · text. Left out: the cosine of the vectors that were learnt to tell what is "
        "chosen next.",
    )
    filter: Filter = None
    fields: Fields = Field(["title"])


class Remarks(BaseModel):
    """What of a list's making is told only where there is something to tell."""

    unused_attributes: list[str] = Field(
        [],
        json_schema_extra=left_out,
        description="Attributes of a user of little history whose value says nothing about what is liked. Left out "
        "where there are none.",
    )

    unused_context: dict[str, Any] = Field(
        {},
        json_schema_extra=left_out,
        description="What of the context had no part in the list: a value that nobody has learnt from, or a field that "
        "does not make lists better. Left out where there is none.",
    )

    @property
    def unsaid(self) -> list[str]:
        """The remarks that there is no need for."""
        return [name for name in Remarks.model_fields if not getattr(self, name)]


class Origin(BaseModel):
    """Where an answer comes from."""

    generation: str
    adapter: str
    took_ms: float


class RecommendAnswer(Origin, Remarks):
    """Items for one user, best first, and where they came from."""

    rec_id: str
    items: list[RecommendedItem]
    fallback: Fallback
    missing_ids: MissingIds


class UserRecommendations(Remarks):
    """One user's part of a batch: what /v1/recommend would have answered."""

    rec_id: str
    user_id: str | None = Field(description="As asked; null where a history was given.")
    items: list[RecommendedItem]
    fallback: Fallback
    missing_ids: MissingIds


class BatchAnswer(Origin):
    """The users' lists, in the order of the request."""

    answers: list[UserRecommendations]


class RankAnswer(Origin, Remarks):
    """All items of the request that the catalogue holds, best first, with the scores that /v1/recommend gives.

    Equal scores keep the catalogue's order. Seen and unavailable items are ranked like all others.
    """

    rec_id: str | None = Field(
        None,
        json_schema_extra=left_out,
        description="Names an order that was written down: one for a user_id, asked for without the scope admin. Left "
        "out otherwise.",
    )
    items: list[RankedItem]
    fallback: Fallback
    missing_ids: MissingIds


class SimilarAnswer(Origin):
    """Items like the given one, most alike first."""

    items: list[RankedItem]
