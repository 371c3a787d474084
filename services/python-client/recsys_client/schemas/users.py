"""Users and lineage: what is known of somebody, how it is forgotten, and where an answer came from."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import Count, Id, Request, by_name
from recsys_client.schemas.recommend import EXACTLY_ONE, FromModel, MissingIds, Origin, UserOrHistory


class HistoryEvent(BaseModel):
    """One event of a user."""

    item_id: str
    title: str | None = Field(description="null where the served catalogue does not hold the item.")
    timestamp: datetime | None = Field(description="null where the snapshot's times are made up.")
    event_type: str | None = Field(description="null where it has none.")
    value: float | None = Field(None, description="Such as a rating; null where it has none.")
    means: str | None = Field(
        None,
        description="Its role for the served generation: target, positive, negative, seen or ignored; null where all "
        "events mean the same.",
    )
    source: str = Field(description="snapshot or live")


class UserAnswer(BaseModel):
    """What is known of a user."""

    user_id: str
    generation: str
    events: dict[str, int] = Field(description="How many there are, by where they are kept: snapshot and live.")
    impressions: int = Field(description="Answers that are recorded.")
    history: list[HistoryEvent] = Field(description="The newest events, oldest first.")
    attributes: dict[str, Any] = Field(description="What the user is like, as far as it is known.")
    attributes_source: str | None = Field(
        description="Where that is kept: live, as it was put, or snapshot; null: nothing is known."
    )


class PutUserRequest(Request):
    """What a user is like, the whole of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attributes": {"age": 34, "sex": "F"}}]})

    attributes: dict[Id, Any] = Field(
        max_length=200,
        json_schema_extra=by_name,
        description="By name, as the served snapshot's table of users has them: texts of at most 256 characters, "
        "numbers, flags; 50 at most, of 4 KiB together. null: not known.",
    )


class UserAttributes(BaseModel):
    """What a user is like, as it is on disk now."""

    user_id: str
    attributes: dict[str, Any]


class SimilarUsersRequest(UserOrHistory, FromModel):
    """A user or a history, to find users like them."""

    model_config = ConfigDict(json_schema_extra=EXACTLY_ONE | {"examples": [{"user_id": "196", "k": 5}]})

    k: Count = 10


class SharedItem(BaseModel):
    """An item that two users chose."""

    item_id: str
    title: str


class SimilarUser(BaseModel):
    """A user of the snapshot who chose the same."""

    user_id: str
    score: float = Field(
        description="The cosine of both sets of chosen items, rare ones counting more, times n / (n + 5) with n shared."
    )
    shared: int = Field(description="How many items both chose.")
    items: list[SharedItem] = Field(description="Some of them, the rarest first.")


class SimilarUsersAnswer(Origin):
    """Users of the snapshot, most alike first; who is forgotten is not among them."""

    users: list[SimilarUser]
    missing_ids: MissingIds


class Removed(BaseModel):
    """What is gone for good."""

    events: int
    impressions: int
    erased: bool = Field(description="Whether the bytes are gone from the files; false on PostgreSQL until it vacuums.")


class ForgottenAnswer(BaseModel):
    """What forgetting a user did and what it leaves to do."""

    user_id: str
    removed: Removed
    hidden: int = Field(description="Events of the served snapshot that no answer reads any more.")
    next_ingest: str
    forgotten_until: datetime = Field(description="Events after this count as those of a new user.")


class ImpressedItem(BaseModel):
    """An item that was shown."""

    item_id: str
    score: float
    propensity: float = Field(description="Probability of being shown; the ranking is deterministic, so 1.")


class Replay(BaseModel):
    """The answer made again."""

    same: bool
    differences: list[str]
    catalogue_changed: bool = Field(description="Whether live items have changed since, which may alter answers.")
    items: list[dict[str, Any]]


class LineageAnswer(BaseModel):
    """Where an answer came from."""

    rec_id: str
    time: datetime
    user_id: str | None
    generation: str
    adapter: str
    adapter_digest: str | None = Field(description="SHA-256 over the digests of the adapter's files.")
    snapshot: str
    flow_run: str | None = Field(description="The Prefect run that made the generation.")
    index: dict[str, Any] = Field(description="LanceDB table and version.")
    items_version: int = Field(description="Change counter of live items; 0 before the first.")
    key: str | None = Field(None, description="Id of the key that asked; null where there was none.")
    shown: bool = Field(True, description="Whether the list was asked for to be shown, and not as a preview.")
    request: dict[str, Any] | None = Field(description="As it was sent; null where it was too large to be kept.")
    history: list[str] = Field(description="What the answer was made from, item ids, oldest first.")
    items: list[ImpressedItem]
    fallback: str | None
    left_out: dict[str, int] = Field(
        {}, description="How many of the oldest of history, and of the last of items, were too many to be kept."
    )
    replay: Replay | None = None
