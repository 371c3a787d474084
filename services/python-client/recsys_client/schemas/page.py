"""A page of rows: several named lists for one user in one answer, no item twice."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from recsys_client.schemas.fields import Context, Fields, Filter, Flag, Id, Request, RowLength, WholeDays
from recsys_client.schemas.lists import RecommendedItem
from recsys_client.schemas.recipes import (
    DAYS_OR_SEGMENT,
    MAX_BASKET,
    RECIPES,
    About,
    Anybody,
    PopularRequest,
    RecipeRequest,
)
from recsys_client.schemas.recommend import (
    AT_MOST_ONE,
    By,
    ExcludeSeen,
    Explain,
    Fallback,
    FromModel,
    Language,
    MissingIds,
    Origin,
    Remarks,
)

MAX_ROWS = 12
MAX_EXCLUDED = 400  # with all items of a page no more than a list may leave out
ROWS_ARE_MADE = 2  # times: to put them in order, and without what stands above them
RecipeName = Literal[
    "because-you-liked",
    "bought-together",
    "buy-again",
    "for-you",
    "new-arrivals",
    "popular",
    "recently-viewed",
    "trending",
]
DEFAULT_ROWS: tuple[RecipeName, ...] = (
    "for-you",
    "because-you-liked",
    "buy-again",
    "trending",
    "new-arrivals",
    "popular",
    "recently-viewed",
)


def _takes(recipe: str) -> set[str]:
    """Return what can be asked of a recipe and not of all."""
    return set(RECIPES[recipe].model_fields) - set(RecipeRequest.model_fields)


def _described(schema: dict[str, Any]) -> None:
    """Say of each recipe what it does not take, and needs; see ``recsys_client.schemas.recommend.EXACTLY_ONE``."""
    own = {name for recipe in RECIPES for name in _takes(recipe)}
    place = schema
    for recipe in sorted(RECIPES):
        none: dict[str, Any] = {name: {"type": "null"} for name in sorted(own - _takes(recipe))}
        needed = {"item_ids": {"not": {"type": "null"}}} if "item_ids" in _takes(recipe) else {}
        place["if"] = {"properties": {"recipe": {"const": recipe}}, "additionalProperties": True}
        place["then"] = {"properties": none | needed, "required": sorted(needed), "additionalProperties": True}
        place["else"] = place = {}


class NewRow(Request):
    """A row of a page: a named list, and what is asked of it."""

    model_config = ConfigDict(json_schema_extra=_described)

    recipe: RecipeName
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="To be answered as it is, in the place of the list's own."
    )
    k: RowLength | None = Field(
        None, description="How many items this row has at most; those of the page, if left out."
    )
    filter: Filter = None
    days: WholeDays | None = Field(None, description="Of bought-together, new-arrivals, popular and trending.")
    column: Id | None = Field(None, description="Of new-arrivals.")
    segment: Flag | None = Field(None, description="Of trending, and of popular, there not beside days.")
    item_id: Id | None = Field(None, description="Of because-you-liked.")
    by: By | None = Field(None, description="Of because-you-liked.")
    item_ids: Annotated[list[Id], Field(fail_fast=True, min_length=1, max_length=MAX_BASKET)] | None = Field(
        None, description="Of bought-together, which needs them."
    )

    @property
    def own(self) -> dict[str, Any]:
        """What is asked of the recipe."""
        common = {"recipe", "title", "k", "filter"}
        return {name: value for name, value in self.model_dump(exclude=common).items() if value is not None}

    @model_validator(mode="after")
    def _of_its_recipe(self) -> Self:
        takes = _takes(self.recipe)
        for name in self.own:
            if name not in takes:
                those = ", ".join(sorted({"title", "k", "filter"} | takes))
                raise PydanticCustomError(
                    "not_of_this_recipe",
                    "{recipe} takes no {name}; there are {those}",
                    {"recipe": self.recipe, "name": name, "those": those},
                )
        if "item_ids" in takes and self.item_ids is None:
            raise PydanticCustomError("missing", "{recipe} needs item_ids", {"recipe": self.recipe})
        if self.recipe == PopularRequest.recipe and self.segment and self.days is not None:
            raise PydanticCustomError("days_or_segment", DAYS_OR_SEGMENT)
        return self


class PageRequest(Anybody, FromModel):
    """Who a page is for, and its rows."""

    model_config = ConfigDict(
        json_schema_extra=AT_MOST_ONE
        | {
            "examples": [
                {"user_id": "196", "k": 8},
                {
                    "history": ["50", "181"],
                    "rows": [
                        {"recipe": "for-you", "title": "Tonight", "k": 12},
                        {"recipe": "trending", "days": 14, "filter": {"field": "genres", "contains": "Comedy"}},
                        {"recipe": "bought-together", "item_ids": ["50"]},
                    ],
                },
            ]
        }
    )

    rows: Annotated[list[NewRow], Field(min_length=1, max_length=MAX_ROWS)] | None = Field(
        None, description=f"Those of a home page, if left out: {', '.join(DEFAULT_ROWS)}."
    )
    k: RowLength = Field(10, description="How many items a row has at most.")
    filter: Filter = Field(None, description="A condition on the items of all rows, beside each row's own.")
    exclude_seen: ExcludeSeen = None
    exclude_ids: list[Id] = Field([], fail_fast=True, max_length=MAX_EXCLUDED, description="Items of no row.")
    context: Context = Field({})
    explain: Explain = False
    language: Language = None
    record: Flag = Field(True, description="Remember each row as a list that was shown, as of /v1/recommend.")
    fields: Fields = Field(["title"])

    @property
    def asked(self) -> list[NewRow]:
        """The rows that are asked for."""
        return self.rows or [NewRow.model_validate({"recipe": name}) for name in DEFAULT_ROWS]

    @property
    def lists(self) -> list[RecipeRequest]:
        """The list that each row is."""
        return [self._list(row) for row in self.asked]

    @property
    def work(self) -> float:
        """How much the page takes to make, in units of the ranking for one user."""
        return ROWS_ARE_MADE * sum(one.work_of_a_list for one in self.lists)

    def _list(self, row: NewRow) -> RecipeRequest:
        given = self.model_dump(exclude={"rows", "k", "filter", "exclude_seen"})
        conditions = [one for one in (self.filter, row.filter) if one is not None]
        request = RECIPES[row.recipe]
        always = request.model_fields["exclude_seen"].annotation == Literal[False]
        given |= {
            "k": row.k or self.k,
            "filter": {"all": conditions} if len(conditions) > 1 else next(iter(conditions), None),
            "exclude_seen": False if always else self.exclude_seen,
            **row.own,
        }
        if self.user_id is None:
            given["history"] = self.history or []
        return request.model_validate(given)


class PageRow(BaseModel):
    """A row as it is answered: a list of its own, which events may name by its rec_id."""

    rec_id: str
    recipe: str = Field(description="Which list this is.")
    row: int = Field(description="Its place among those asked for, from 0.")
    title: str
    about: About | None = Field(description="The item of the history that because-you-liked is about.")
    items: list[RecommendedItem]
    fallback: Fallback
    utility: float | None = Field(
        description="What the user is expected to get from the row, which the rows are ordered by: the user's own "
        "scores of its items, discounted by their places; null where nothing is known of the user."
    )


class LeftOutRow(BaseModel):
    """A row that is not on the page."""

    recipe: str
    row: int = Field(description="Its place among those asked for, from 0.")
    reason: str
    code: str = Field(  # no Literal: a client reads those of newer services, too
        json_schema_extra={"enum": ["tells-history", "unknown-item", "no-such-list", "too-few-items"]},
        description="tells-history: it needs the scope admin. unknown-item: the catalogue does not hold what it is "
        "about. no-such-list: the data, or what is known of the user, does not have it. too-few-items: beside the rows "
        "above it hardly anything is left.",
    )


class PageAnswer(Origin, Remarks):
    """Rows, the most useful first, and those that are left out. No item stands in two of them."""

    rows: list[PageRow]
    left_out: list[LeftOutRow]
    missing_ids: MissingIds
    as_of: datetime | None = Field(
        description="The newest event of the snapshot: now, to windows of time. null where times are not known."
    )
