"""Live items: what is put, and what is there."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import Body, Flag

MAX_COLUMNS = 200


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
            "examples": [{"title": "Toy Story 2 (1999)", "genres": ["Animation", "Comedy"], "year": 1999}],
        },
    )

    title: str = Field(min_length=1, max_length=20_000)
    available: Flag = Field(True, description="false takes the item out of all lists at once.")


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
    recommendable: bool = Field(description="Whether this worker offers it: it has a vector and is available.")
