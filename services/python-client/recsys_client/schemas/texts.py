"""Texts as vectors, and texts as searches: requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from recsys_client.schemas.fields import Fields, Filter
from recsys_client.schemas.recommend import FromModel, Origin, Page

MAX_TEXTS = 256
MAX_TEXT = 10_000  # characters; the encoder reads the first few dozen tokens
MAX_QUERY = 1_000


class EmbedRequest(FromModel):
    """Texts to encode."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a quiet film about the sea"]}]})

    texts: list[Annotated[str, StringConstraints(max_length=MAX_TEXT)]] = Field(
        fail_fast=True, min_length=1, max_length=MAX_TEXTS
    )


class EmbedAnswer(Origin):
    """One vector a text, in the order of the request."""

    model: str = Field(description="The base model.")
    dimensions: int
    vectors: list[list[float]] = Field(
        description="Unit vectors: the base's, then the adapter's, side by side. A text's vector does not depend on "
        "the texts beside it."
    )


class SearchRequest(Page):
    """Free text: a title, a wish, a question."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"query": "a comedy about space", "k": 5, "filter": {"field": "year", "gte": 1990}}]
        }
    )

    query: str = Field(max_length=MAX_QUERY, description="One without a letter or a digit finds what is popular.")
    filter: Filter = None
    mode: Literal["both", "meaning", "words"] = Field(
        "both",
        description="both: meaning and words, fused, an item whose title is the query first. meaning: cosines alone. "
        "words: BM25 alone; fewer than k items where fewer hold a word.",
    )
    fields: Fields = Field(["title"])


class FoundItem(BaseModel):
    """One item that a search found."""

    model_config = ConfigDict(from_attributes=True)

    item_id: str
    score: float = Field(
        description="both: the cosine and four times the fifth power of the share of the query's words, by weight, "
        "that the item holds; five more where the query is its title. meaning: the cosine. words: that share. "
        "Comparable within one answer only."
    )
    found_by: list[str] = Field(
        description="meaning: near the query's vector; words: holds its words; title: is the title, and comes first."
    )
    fields: dict[str, Any]


class SearchAnswer(Origin):
    """What was found, best first."""

    items: list[FoundItem]
    fallback: str | None = Field(
        description="popular: the query holds no word. meaning: words cannot be looked up at the moment."
    )
    search_adapter: str | None = Field(
        None,
        description="By which query and items are compared, where the search has learnt from pairs; null: the base "
        "alone. The generation's adapter is not read.",
    )
