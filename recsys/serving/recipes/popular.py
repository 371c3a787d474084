"""Popular: what most people chose, ever or of late, or what people alike choose."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys.errors import RequestError
from recsys.ranking.system import POPULARITY
from recsys.serving.behaviour import DAY
from recsys.serving.explanation import CHOSEN, CHOSEN_LATELY, Reason
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class Popular(Recipe):
    """The score is the number of different people; what nobody chose comes last.

    Attributes:
        days: before the newest event of the snapshot; None: ever.
        segment: count what people with the user's attributes choose, and in such a situation, whatever the user did,
            see ``recsys.experts.audience``; where nothing is known of either, what is popular with everybody.

    Raises:
        RequestError: both: people alike are counted over all of time.
    """

    days: int | None = None
    segment: bool = False
    name: ClassVar[str] = "popular"

    def __post_init__(self) -> None:
        if self.segment and self.days is not None:
            raise RequestError("popular takes days or segment: people alike are counted over all of time.")

    @property
    def asks_attributes(self) -> bool:
        """See ``Recipe``."""
        return self.segment

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Popular")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``.

        Raises:
            UntimedError: of late, and times are not known.
        """
        if self.segment:
            return recommender.ranking(replace(asked, history=recommender.known([])[0]))
        return self.counted(recommender, asked)

    def counted(self, recommender: "Recommender", asked: Asked) -> ScoredItems:
        """Return what proposes by the number of people."""
        behaviour, catalogue = recommender.behaviour, recommender.catalogue
        counts = behaviour.people(None if self.days is None else behaviour.last - self.days * DAY)
        people = over_catalogue(counts.astype(np.float32), len(catalogue))

        def explain(row: int) -> Why:
            chosen = int(people[row])
            if self.days is None:
                return Why(POPULARITY, [Reason(CHOSEN, numbers={"people": chosen})])
            return Why(POPULARITY, [Reason(CHOSEN_LATELY, numbers={"people": chosen, "days": self.days})])

        return ScoredItems(
            people,
            np.ones(len(catalogue), dtype=bool),
            explain,
            catalogue.ids,
            catalogue.titles,
            end_stage=asked.end_stage,
        )
