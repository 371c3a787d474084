"""The keyword arguments of the calls that take many: each mirrors a request's schema, so that editors complete them.

Every one may be left out, and then the service's default holds; ``schemas.recommend`` says what each is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from recsys_client.schemas.recommend import NewPromotion, SeenOptions


class UserParams(TypedDict, total=False):
    """Whom an answer is for: exactly one of the two."""

    user_id: str | None
    history: Sequence[str] | None


class ItemParams(TypedDict, total=False):
    """Which items an answer holds, which model chooses them and how they are shown."""

    k: int
    offset: int
    filter: Mapping[str, Any] | None
    adapter: str | None
    generation: str | None
    fields: Sequence[str]


class SearchParams(ItemParams, total=False):
    """Which items a search finds, and by what."""

    mode: Literal["both", "meaning", "words"]


class ListParams(ItemParams, total=False):
    """What a user's list is like."""

    exclude_seen: bool | SeenOptions | Mapping[str, Any] | None
    exclude_ids: Sequence[str]
    diversity: float
    limits: Mapping[str, int]
    promotions: Sequence[NewPromotion | Mapping[str, Any]]
    explain: bool
    language: str | None
    record: bool


class RecommendParams(UserParams, ListParams, total=False):
    """Whom a list is for, and what it is like."""


class RankParams(UserParams, total=False):
    """For whom given items are put in order, which model does it and how they are shown."""

    adapter: str | None
    generation: str | None
    explain: bool
    language: str | None
    fields: Sequence[str]
