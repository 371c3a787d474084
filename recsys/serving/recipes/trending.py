"""Trending: what has grown beyond chance, by the share of all that people chose lately and in the time before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from recsys.experts.audience import Segment
from recsys.ranking.system import POPULARITY
from recsys.serving.behaviour import DAY
from recsys.serving.explanation import TRENDING, TRENDING_ALIKE, Reason
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
        segment: growth among people who share one of the user's attributes, of those that tell people apart (see
            ``recsys.experts.audience``): the largest bound of all such. Few people have a low one, so they say little.
            Where nothing is known of the user, growth with everybody.
    """

    days: int = 7
    segment: bool = False
    name: ClassVar[str] = "trending"

    @property
    def asks_attributes(self) -> bool:
        """See ``Recipe``."""
        return self.segment

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Trending")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``; growth is of the share among what is allowed, so within a category by its own standards.

        Raises:
            UntimedError: times are not known.
        """
        catalogue = recommender.catalogue
        segments, unknown = self._segments(recommender, asked)
        among: list[Segment | None] = [*segments] or [None]
        grown = [self._growth(recommender, asked, one) for one in among]
        bounds, times, people = (np.stack(each) for each in zip(*grown, strict=True))
        best, rows = bounds.argmax(axis=0), np.arange(len(catalogue))
        scores = bounds[best, rows]

        def explain(row: int) -> Why:
            whose = best[row]
            recent, segment = int(people[whose, row]), among[whose]
            numbers = {"times": round(float(times[whose, row]), 1), "days": self.days, "people": recent}
            if scores[row] <= 0:
                return Why(TRENDING, [Reason(POPULARITY)] * bool(recent))
            if segment is None:
                return Why(TRENDING, [Reason(TRENDING, numbers=numbers)])
            return Why(TRENDING, [Reason(TRENDING_ALIKE, title=f"{segment.field} {segment.label}", numbers=numbers)])

        return ScoredItems(
            scores,
            np.ones(len(catalogue), dtype=bool),
            explain,
            catalogue.ids,
            catalogue.titles,
            filling=scores <= 0,
            remarks={"unused_attributes": unknown} if unknown else {},
            end_stage=asked.end_stage,
        )

    def _segments(self, recommender: "Recommender", asked: Asked) -> tuple[list[Segment], list[str]]:
        """Return those of the user, and the attributes whose values nobody has learnt from."""
        known = recommender.users.audience
        if not self.segment or known is None:
            return [], []
        told = {name: value for name, value in asked.attributes.items() if name in known.audience.fields}
        segments, unknown = known.audience.known(told)
        return segments, sorted(unknown)

    def _growth(self, recommender: "Recommender", asked: Asked, among: Segment | None) -> tuple[Any, Any, Any]:
        """Return (items,) bounds of the growth with some people, how many times each grew, and who chose it lately."""
        behaviour, items = recommender.behaviour, len(recommender.catalogue)
        window = self.days * DAY
        start = behaviour.last - window
        recent = over_catalogue(behaviour.people(start, among=among), items)
        before = over_catalogue(behaviour.people(start - BEFORE * window, start, among), items)
        lately = np.flatnonzero(recent)
        totals = float(recent[asked.allowed].sum()), float(before[asked.allowed].sum())
        bounds, likely = growth(recent[lately], totals[0], before[lately], totals[1])
        scores, times = np.full(items, NEVER, dtype=np.float32), np.zeros(items)
        scores[lately], times[lately] = bounds, np.exp(likely)
        return scores, times, recent
