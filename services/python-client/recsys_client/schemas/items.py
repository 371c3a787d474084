"""Live items: what is put, and what is there."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import Body, Flag, PathId, Request

MAX_COLUMNS = 200
MAX_PUT = 500  # items in one request
MAX_LISTED = 200  # items of one page
Title = Annotated[str, Field(min_length=1, max_length=20_000)]
Source = Literal["all", "live", "catalogue"]


class PutItemRequest(Body):
    """An item whole: its title, and any other columns of the catalogue; what is left out is empty.

    A column that the catalogue does not have, or a value that does not fit it, is refused; all columns together have at
    most 64 KiB as JSON.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": True,
            "maxProperties": MAX_COLUMNS,
            "examples": [{"title": "Toy Story 2", "genres": ["Animation", "Comedy"], "year": 1999}],
        },
    )

    title: Title
    available: Flag | None = Field(
        True, description="null counts as true; false takes the item out of all lists at once."
    )


class PatchItemRequest(Body):
    """What shall change of an item, as a JSON merge patch (RFC 7396): a column's new value, or null to empty it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": True,
            "maxProperties": MAX_COLUMNS,
            "examples": [{"year": 2000, "genres": None}],
        },
    )

    title: Title = Field(default_factory=str)
    available: Flag | None = Field(None, description="false takes the item out of all lists at once.")


class NewItem(PutItemRequest):
    """An item whole, with its id."""

    item_id: PathId


class PutItemsRequest(Request):
    """Items to put, each as PUT /v1/items/{item_id} takes it, with its item_id."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [{"item_id": "new-2", "title": "Heat 2 (2027)", "year": 2027}]}]}
    )

    items: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_PUT)


class RejectedItem(BaseModel):
    """An item that was not stored."""

    index: int = Field(description="Place in the request, from 0.")
    reason: str
    code: str = Field(  # no Literal: a client reads those of newer services, too
        json_schema_extra={"enum": ["invalid-item", "item-too-large", "repeated-item", "no-room", "overloaded"]},
        description="overloaded: many items wait to be encoded; send this one again. no-room: as many are live as may "
        "be. repeated-item: an item before has the same id.",
    )


class PutItemsAnswer(BaseModel):
    """What became of the items: accepted ones are on disk, and offered, by their text, within seconds."""

    accepted: int
    version: int | None = Field(description="Of the last change; answers from this version on know all of them.")
    rejected: list[RejectedItem]


class ItemChange(BaseModel):
    """A change that is on disk."""

    item_id: str
    version: int = Field(description="Of all changes to live items; answers from this version on know the item.")


class ItemAnswer(BaseModel):
    """An item as it is now."""

    item_id: str
    fields: dict[str, Any]
    source: str = Field(description="live: put since; catalogue: of the served generation.")
    version: int | None = Field(description="Of its last change; null in the catalogue.")
    changed_at: datetime | None = Field(
        description="When it was put; null in the catalogue. A catalogue whose row says by updated_at that it is newer "
        "takes its place."
    )
    recommendable: bool = Field(description="Whether this worker offers it: it has a vector and is available.")


class ItemsAnswer(BaseModel):
    """A page of the items, by id."""

    items: list[ItemAnswer]
    next: str | None = Field(
        description="Where the next page begins: send it as after. null: this is the last one. A page may have fewer "
        "items than asked for, and another one behind it."
    )
