"""Trending: what has grown beyond chance, by the share of all that people chose lately and in the time before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys.ranking.system import POPULARITY
from recsys.serving.behaviour import DAY
from recsys.serving.explanation import TRENDING, Reason
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.chance import growth
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

BEFORE = 4  # windows that the last one is compared with; fewer where the snapshot is younger
NEVER = -100.0  # score of what nobody chose lately


@dataclass(frozen=True)
class Trending(Recipe):
    """The score is the lower bound of the logarithm of an item's growth, see ``chance.growth``; above 0 it trends.

    What does not trend fills the list in the same order: what is steady before what falls, and what nobody chose lately
    at the end.

    Attributes:
        days: the window, up to the newest event of the snapshot; it is compared with the four windows before it.
    """

    days: int = 7
    name: ClassVar[str] = "trending"

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Trending")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``; growth is of the share among what is allowed, so within a category by its own standards.

        Raises:
            UntimedError: times are not known.
        """
        behaviour, catalogue = recommender.behaviour, recommender.catalogue
        window = self.days * DAY
        start = behaviour.last - window
        recent = over_catalogue(behaviour.people(start), len(catalogue))
        before = over_catalogue(behaviour.people(start - BEFORE * window, start), len(catalogue))
        lately = np.flatnonzero(recent)
        totals = float(recent[asked.allowed].sum()), float(before[asked.allowed].sum())
        bounds, likely = growth(recent[lately], totals[0], before[lately], totals[1])
        scores, times = np.full(len(catalogue), NEVER, dtype=np.float32), np.zeros(len(catalogue))
        scores[lately], times[lately] = bounds, np.exp(likely)

        def explain(row: int) -> Why:
            numbers = {"times": round(float(times[row]), 1), "days": self.days, "people": int(recent[row])}
            said = [Reason(TRENDING, numbers=numbers)] if scores[row] > 0 else []
            return Why(TRENDING, said or [Reason(POPULARITY)] * bool(recent[row]))

        return ScoredItems(
            scores,
            np.ones(len(catalogue), dtype=bool),
            explain,
            catalogue.ids,
            catalogue.titles,
            filling=scores <= 0,
            end_stage=asked.end_stage,
        )
