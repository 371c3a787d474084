"""Requests and answers of the HTTP interface, with their bounds; the OpenAPI document is made from them.

A field that is not declared here is refused, so that a misspelt option fails instead of doing nothing.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

MAX_ITEMS = 200  # in one answer
MAX_HISTORY = 1_000
MAX_EXCLUDED = 1_000
MAX_EVENTS = 1_000  # in one request
MAX_FIELDS = 50

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(value: Any) -> Any:
    # Left alone, pydantic reads numbers as seconds or milliseconds, whichever seems likelier.
    if not isinstance(value, str | datetime) or (isinstance(value, str) and not _RFC_3339.match(value)):
        raise ValueError("write the time as in 2026-01-31T12:00:00Z")
    return value


# Ids become log lines, labels and text in databases: no control characters (C0, DEL, C1, line separators).
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"),
]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_written_out)]
Fields = Annotated[list[Id], Field(max_length=MAX_FIELDS, description="Item columns to return with every item.")]
Count = Annotated[int, Field(ge=1, le=MAX_ITEMS, description="How many items to return at most.")]
Filter = Annotated[
    dict[str, Any] | None,
    Field(description="A condition on item columns.", examples=[{"all": [{"field": "year", "gte": 1990}]}]),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendRequest(_Request):
    """Who asks, by user_id or by history, and what for."""

    user_id: Id | None = Field(None, description="A user of the snapshot or of the live events.")
    history: Annotated[list[Id], Field(max_length=MAX_HISTORY)] | None = Field(
        None, description="Item ids, oldest first, of a person without an account."
    )
    k: Count = 10
    filter: Filter = None
    exclude_seen: bool = Field(True, description="Leave out what the history holds.")
    exclude_ids: list[Id] = Field([], max_length=MAX_EXCLUDED, description="Items to leave out as well.")
    adapter: Id | None = Field(None, description="The adapter that must answer; another one is a 404.")
    explain: bool = Field(False, description="Say which items of the history brought each item.")
    fields: Fields = ["title"]

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("give exactly one of user_id and history")
        return self


class SimilarRequest(_Request):
    """An item, to find others like it."""

    item_id: Id
    k: Count = 10
    filter: Filter = None
    fields: Fields = ["title"]


class NewEvent(_Request):
    """One user doing one thing to one item."""

    user_id: Id
    item_id: Id
    timestamp: Timestamp | None = Field(None, description="RFC 3339 with a time zone; now, where left out.")
    event_id: Id | None = Field(None, description="Makes a repeated event a duplicate; the content's hash if left out.")
    event_type: Id = "interaction"
    value: float | None = Field(None, allow_inf_nan=False)


class EventsRequest(_Request):
    """Events to store; where timestamps are left out, the order of the list is the order in time."""

    events: list[NewEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class RankedItem(BaseModel):
    """One item of an answer."""

    item_id: str
    score: float = Field(description="Higher is better; comparable within one answer only.")
    reasons: list[str]
    fields: dict[str, Any]


class RecommendAnswer(BaseModel):
    """Items for one person, best first, and where they came from."""

    rec_id: str
    items: list[RankedItem]
    generation: str
    adapter: str
    fallback: str | None = Field(description="popular: nothing is known of the person, so everybody's favourites.")
    missing_ids: list[str] = Field(description="Ids of the request that the catalogue does not hold.")
    took_ms: float


class SimilarAnswer(BaseModel):
    """Items like the given one, most alike first."""

    items: list[RankedItem]
    generation: str
    adapter: str
    took_ms: float


class Rejection(BaseModel):
    """An event that was not stored."""

    index: int = Field(description="Place in the request, from 0.")
    reason: str


class EventsAnswer(BaseModel):
    """What became of the events: accepted ones are on disk, and the next answer knows them."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]


class GenerationsAnswer(BaseModel):
    """All generations, and how this worker stands to the current one."""

    serving: str | None = Field(description="What this worker answers from.")
    current: str | None = Field(description="Where the pointer points.")
    problem: str | None = Field(description="Why the current one is not served.")
    generations: list[dict[str, Any]]


class Problem(BaseModel):
    """An error, as application/problem+json."""

    title: str
    status: int
    detail: str
