"""Items of answers, and why they are there."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_client.schemas.fields import left_out


def _nothing(value: object) -> bool:
    """Tell whether a field is left out of an answer: what is only said where there is something to say."""
    return value is None or value is False or value == {}


class Carried(BaseModel):
    """What an item of the history added to a score."""

    model_config = ConfigDict(from_attributes=True)

    item_id: str
    title: str
    score: float


class Component(BaseModel):
    """What one scorer added: ``score = baseline + sum of history + other_history``."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(
        description="towers: text and use, by the fine-tuned encoder; ids: use alone; content: text alone; lexical: "
        "words in common; rules: what follows what; knn, ease: who liked this liked that; popularity; again: what the "
        "history holds and is due; boosts and objective: what the dials of the request add; exploration: what "
        "new_items adds."
    )
    score: float
    baseline: float = Field(description="What no item of the history accounts for.")
    history: list[Carried] = Field(
        description="The items that added most. The parts of rules, knn, ease, content and lexical follow from their "
        "sums; those of towers and ids are shared out by closeness, max(cosine, 0)."
    )
    other_history: float = Field(description="What the items that are not shown added.")


class Word(BaseModel):
    """A word that the item's text shares with the items that carried it."""

    model_config = ConfigDict(from_attributes=True)

    word: str
    weight: float = Field(description="How rare it is, times the share of the carrying items that hold it.")


class Reason(BaseModel):
    """A reason in parts, for a frontend that makes sentences of its own."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(
        description="As the components' names; of named lists what their recipes say; boosted, buried and favoured: by "
        "boosts and by the objective; new: little known and near to the user's taste."
    )
    item_id: str | None = Field(description="The item of the history behind it; null: none, or it must not be told.")
    title: str | None
    every_days: float | None = Field(
        None,
        exclude_if=_nothing,
        json_schema_extra=left_out,
        description="Of the code again: about so many days lie between two times, if known.",
    )
    ago_days: float | None = Field(
        None,
        exclude_if=_nothing,
        json_schema_extra=left_out,
        description="Of the code again: days since the last time, if known.",
    )
    numbers: dict[str, int | float | str] = Field(
        {},
        exclude_if=_nothing,
        json_schema_extra=left_out,
        description="What a recipe has counted, by the names of its sentence: people, times, days and the like.",
    )
    what: str | None = Field(
        None,
        exclude_if=_nothing,
        json_schema_extra=left_out,
        description="The condition of a boost, in words, or the objective's field.",
    )


class Explanation(BaseModel):
    """A score in parts: the components add up to it, and so do ``baseline + sum of history + other_history``."""

    model_config = ConfigDict(from_attributes=True)

    components: list[Component]
    history: list[Carried] = Field(description="Over all components, the items that added most.")
    other_history: float
    baseline: float
    words: list[Word] = Field(description="At most five, the most telling first.")
    reasons: list[Reason] = Field([], description="What the item's reasons say in sentences.")


class RankedItem(BaseModel):
    """One item of an answer."""

    model_config = ConfigDict(from_attributes=True)

    item_id: str
    score: float = Field(description="Higher is better; comparable within one answer only.")
    reasons: list[str] = Field(description="Sentences, where explain was asked for; equal ones once.")
    fields: dict[str, Any]
    explanation: Explanation | None = Field(description="The score in parts, where explain was asked for.")


class RecommendedItem(RankedItem):
    """One item of a user's list."""

    promoted: bool = Field(description="Whether a promotion put it into its slot.")
    new: bool = Field(
        False,
        exclude_if=_nothing,
        json_schema_extra=left_out,
        description="Whether it stands in a place that new_items keeps for new ones; left out where it does not.",
    )
