"""Two adapters beside each other: in what they differ, figures on what both held out, and people's lists by both."""

from pydantic import BaseModel, Field


class ComparedValue(BaseModel):
    """A setting in which two adapters differ, or a metric of both."""

    name: str = Field(description="With dots: settings.tower.epochs.")
    first: str | None
    second: str | None
    difference: float | None = Field(description="Of numbers, the second minus the first.")


class ComparedSlice(BaseModel):
    """Two adapters on a slice of the targets that both held out."""

    slice: str = Field(description="`total`, or a slice that the targets are in for both.")
    targets: int
    first: float = Field(description="Mean NDCG@10.")
    second: float
    difference: float = Field(description="The second minus the first.")
    low: float = Field(description="Of the difference's 95 % interval, by a paired bootstrap over the targets.")
    high: float


class Measured(BaseModel):
    """What two adapters have made, on the targets that both held out."""

    generations: list[str] = Field(description="That were compared, the newest of each.")
    held_out: list[int] = Field(description="How many targets each held out.")
    slices: list[ComparedSlice] = Field(description="All that have targets, the total first.")


class NamedItem(BaseModel):
    """An item and its title."""

    item_id: str
    title: str | None


class PersonsLists(BaseModel):
    """What one user is offered by two adapters now."""

    user_id: str
    held_out: NamedItem = Field(description="What the user chose, and neither had learnt from when it was measured.")
    first_ndcg: float = Field(description="NDCG@10 on it, then.")
    second_ndcg: float
    first: list[NamedItem] = Field(description="The best items by the first.")
    second: list[NamedItem]


class ComparisonAnswer(BaseModel):
    """Two adapters, compared."""

    first: str
    second: str
    values: list[ComparedValue] = Field(description="Settings that differ, then all metrics of both.")
    comparable: bool = Field(description="Whether both were asked the same targets, so that metrics can be compared.")
    measured: Measured | None = Field(description="Null where nothing can be measured; `reason` says why.")
    reason: str | None
    people: list[PersonsLists] = Field(
        description="Those whose held-out item tells the two apart the most: who wins and who loses by turns."
    )
