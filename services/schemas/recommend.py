"""Items for a person, and items like an item: requests and answers."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from services.schemas.fields import Count, Fields, Filter, Id, Request

MAX_HISTORY = 1_000
MAX_EXCLUDED = 1_000


class RecommendRequest(Request):
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
    fields: Fields = Field(["title"])

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("give exactly one of user_id and history")
        return self


class SimilarRequest(Request):
    """An item, to find others like it."""

    item_id: Id
    k: Count = 10
    filter: Filter = None
    fields: Fields = Field(["title"])


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
