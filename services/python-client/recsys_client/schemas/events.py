"""Live events: what is sent, and what became of it."""

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import Context, Id, Number, Request, Timestamp

MAX_EVENTS = 1_000  # in one request


class NewEvent(Request):
    """One user doing one thing to one item."""

    user_id: Id
    item_id: Id
    timestamp: Timestamp | None = Field(None, description="RFC 3339 with a time zone; now, where left out.")
    event_id: Id | None = Field(None, description="Makes a repeated event a duplicate; the content's hash if left out.")
    event_type: Id = "interaction"
    value: Number | None = Field(None, allow_inf_nan=False)
    rec_id: Id | None = Field(
        None,
        description="Of the answer that brought the item. One that is unknown is kept and counts for no answer; "
        "GET /v1/rates says what answers have brought.",
    )
    context: Context = Field({})


class EventsRequest(Request):
    """Events to store; where timestamps are left out, the order of the list is the order in time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"events": [{"user_id": "196", "item_id": "50", "event_type": "click"}]}]}
    )

    events: list[NewEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class Rejection(BaseModel):
    """An event that was not stored."""

    index: int = Field(description="Place in the request, from 0.")
    reason: str
    code: str = Field(  # no Literal: a client reads those of newer services, too
        json_schema_extra={"enum": ["unknown-item", "invalid-event", "conflict"]},
        description="unknown-item: the catalogue does not hold it (yet). invalid-event: its time cannot be, "
        "or the snapshot does not declare its context. conflict: "
        "another event with this event_id was sent before, by the same key or, with admin, by any; that one stays.",
    )


class EventsAnswer(BaseModel):
    """What became of the events: accepted ones are on disk, and the next answer knows them."""

    accepted: int
    duplicates: int = Field(description="Of events that the same key has sent before; with admin, that anybody has.")
    rejected: list[Rejection]
