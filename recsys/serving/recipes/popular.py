"""Popular: what most people chose, ever or of late."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys.ranking.system import POPULARITY
from recsys.serving.behaviour import DAY
from recsys.serving.explanation import CHOSEN, CHOSEN_LATELY, Reason
from recsys.serving.history import KnownHistory
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class Popular(Recipe):
    """The score is the number of different people; those whom nobody chose come last.

    Attributes:
        days: before the newest event of the snapshot; None: ever.
    """

    days: int | None = None
    name: ClassVar[str] = "popular"

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Popular")

    def proposer(self, recommender: "Recommender", asked: Asked) -> ScoredItems:
        """See ``Recipe``.

        Raises:
            UntimedError: of late, and times are not known.
        """
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
