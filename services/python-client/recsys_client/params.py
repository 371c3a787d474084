"""The keyword arguments of the calls that take many: each mirrors a request's schema, so that editors complete them.

Every one may be left out, and then the service's default holds; ``schemas.recommend`` says what each is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from recsys_client.schemas.dials import Exploration, NewBoost, NewObjective
from recsys_client.schemas.page import NewRow
from recsys_client.schemas.recommend import By, NewPromotion, SeenOptions


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


class PageParams(UserParams, total=False):
    """Whom a page of rows is for, and what is on it."""

    context: Mapping[str, Any]

    rows: Sequence[NewRow | Mapping[str, Any]] | None
    k: int
    filter: Mapping[str, Any] | None
    adapter: str | None
    generation: str | None
    exclude_seen: bool | SeenOptions | Mapping[str, Any] | None
    exclude_ids: Sequence[str]
    explain: bool
    language: str | None
    record: bool
    fields: Sequence[str]


class SimilarParams(ItemParams, total=False):
    """Which items are like another, and by what."""

    by: By | None


class SimilarUsersParams(UserParams, total=False):
    """Whom users shall be like, and which model tells."""

    k: int
    adapter: str | None
    generation: str | None


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
    context: Mapping[str, Any]


class DialledParams(ListParams, total=False):
    """What a user's own list is like, and what else than taste moves its items."""

    boosts: Sequence[NewBoost | Mapping[str, Any]]
    objective: NewObjective | Mapping[str, Any] | None
    new_items: Exploration | Mapping[str, Any] | None


class RecommendParams(UserParams, DialledParams, total=False):
    """Whom a list is for, and what it is like."""


class AnybodyParams(UserParams, ListParams, total=False):
    """Whom a named list is for, if anybody, and what it is like."""


class BecauseYouLikedParams(AnybodyParams, total=False):
    """What is asked of what is like an item of the history."""

    item_id: str | None
    by: By


class BoughtTogetherParams(AnybodyParams, total=False):
    """What is asked of what goes with some items."""

    days: int


class NewArrivalsParams(AnybodyParams, total=False):
    """What is asked of what has come lately."""

    days: int
    column: str | None


class PopularParams(AnybodyParams, total=False):
    """What is asked of what is popular."""

    days: int | None
    segment: bool


class TrendingParams(AnybodyParams, total=False):
    """What is asked of what trends."""

    days: int
    segment: bool


class RankParams(UserParams, total=False):
    """For whom given items are put in order, which model does it and how they are shown."""

    adapter: str | None
    generation: str | None
    boosts: Sequence[NewBoost | Mapping[str, Any]]
    objective: NewObjective | Mapping[str, Any] | None
    explain: bool
    language: str | None
    fields: Sequence[str]
    context: Mapping[str, Any]
