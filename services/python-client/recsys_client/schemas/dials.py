"""The dials of a shop on lists: what moves items up and down beside what suits the user."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from recsys_client.schemas.fields import Id, Number, Request, number

MAX_BOOSTS = 10
MAX_STRENGTH = 3
MAX_SLOTS = 10


class NewBoost(Request):
    """Moves the items that match a condition up, or down."""

    filter: dict[str, Any] = Field(
        description="Which items: a condition, as the filter of a list.",
        examples=[{"field": "genres", "contains": "Comedy"}],
    )
    strength: Number = Field(
        ge=-MAX_STRENGTH,
        le=MAX_STRENGTH,
        description="In units of about one standard deviation of the user's scores over the catalogue; negative: down.",
    )


class NewObjective(Request):
    """A number of the items that counts beside what suits the user: their margin, their price."""

    field: Id = Field(description="An item column of numbers.")
    weight: Number = Field(
        ge=0,
        le=1,
        description="Units for each robust standard deviation that an item is above the median of the catalogue, of "
        "which three count at most. 0: it does not count; 1: about as much as all that is known of the user's taste.",
    )


class Exploration(Request):
    """What is done for items of which little is known."""

    slots: Annotated[int, Field(ge=0, le=MAX_SLOTS), BeforeValidator(number)] = Field(
        0,
        description="How many places of the first page, spread over it, are kept for the new items that suit the user "
        "best and are not among the k best anyway. Where none is near to the user's taste, a place is an ordinary one.",
    )
    strength: Number = Field(
        0.0,
        ge=0,
        le=MAX_STRENGTH,
        description="Units that a wholly new item gets beside its score if nothing is nearer to the user's taste; what "
        "is less new or less near gets less. It stands in explanation.components as exploration.",
    )


Boosts = Annotated[
    list[NewBoost],
    Field(
        max_length=MAX_BOOSTS,
        description="Conditions whose items move up or down. Several on one item add up, to 3 or -3 at most. What they "
        "add stands in explanation.components as boosts. Keys without the scope admin, where seen items are left out: "
        "fewer than ten items are never moved further than all others, so that none is singled out.",
        examples=[[{"filter": {"field": "genres", "contains": "Comedy"}, "strength": 1.5}]],
    ),
]
OptionalObjective = Annotated[
    NewObjective | None,
    Field(
        description="A column of numbers as a second objective. An item without a number counts as the median. What it "
        "adds stands in explanation.components as objective.",
        examples=[{"field": "year", "weight": 0.2}],
    ),
]
OptionalNewItems = Annotated[
    Exploration | None,
    Field(
        description="Lets new items be seen: those with fewer than five events of the training, until enough lists "
        "have shown them. Without a history nothing is known to suit, and nothing is done.",
        examples=[{"slots": 2}, {"strength": 1.5}],
    ),
]
