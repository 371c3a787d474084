"""Bought together: what goes with some items, as baskets show it, rather than in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.system import CONTENT
from recsys.serving.behaviour import Baskets
from recsys.serving.explanation import TOGETHER, Reason, Shares
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.chance import lift
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

ALIKE, INSTEAD = "alike", "instead"
ALIKE_WEIGHT = 0.5  # of the cosine of two texts: what says the same is more often taken instead than beside
INSTEAD_WEIGHT = 0.5  # of how much more often a pair is looked at than bought together


@dataclass(frozen=True)
class BoughtTogether(Recipe):
    """The score is a sum over the given items X of what a pair has beyond chance, less what is merely similar.

    Of a pair: ``max(0, bought − 0.5 · max(0, cosine) − 0.5 · max(0, looked − bought))``. ``bought`` is the lower bound
    of the logarithm of the lift: the baskets that hold both over ``baskets with X · baskets with Y / baskets``, see
    ``chance.lift``; ``looked`` the same of what users looked at without buying it, where events tell that apart: what
    is compared more than it is combined is taken instead. The cosine is that of the base model's whitened vectors of
    both texts. What no pair speaks for is not proposed: the list ends there.

    Attributes:
        item_ids: X.
        days: a basket is what one user took without a pause of so many days.
    """

    item_ids: Sequence[str] = ()
    days: int = 1
    name: ClassVar[str] = "bought-together"

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Often bought together")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``."""
        catalogue, behaviour, scoring = recommender.catalogue, recommender.behaviour, recommender.scoring
        size = len(catalogue)
        given = np.array(sorted(set(catalogue.existing(self.item_ids)[0])), dtype=np.int32)
        vectors = scoring.source.vectors[:, scoring.block(CONTENT)]
        looks = behaviour.looks(self.days)
        pairs = [Pairs.of(behaviour.baskets(self.days), row, size) for row in given.tolist()]
        parts = {name: np.zeros((len(given), size), np.float32) for name in (TOGETHER, ALIKE, INSTEAD)}
        for place, (row, bought) in enumerate(zip(given.tolist(), pairs, strict=True)):
            parts[TOGETHER][place] = bought.bound
            parts[ALIKE][place] = -ALIKE_WEIGHT * np.maximum(vectors @ vectors[row], 0)
            if looks is not None:
                looked = Pairs.of(looks, row, size).bound
                parts[INSTEAD][place] = -INSTEAD_WEIGHT * np.maximum(looked - bought.bound, 0)
        kept = np.sum(list(parts.values()), axis=0) > 0
        for values in parts.values():
            values *= kept
        scores: NDArray[np.float32] = np.stack(list(parts.values())).sum(axis=(0, 1), dtype=np.float32)
        proposed: NDArray[np.bool_] = np.greater(scores, 0)
        proposed[given] = False

        def explain(row: int) -> Why:
            own = {name: values[:, row].astype(np.float64) for name, values in parts.items()}
            shares = {name: Shares(float(values.sum()), values) for name, values in own.items() if values.any()}
            said = []
            if len(given) and kept[:, row].any():
                place = int(np.argmax(own[TOGETHER]))
                both, times = pairs[place].baskets[row], pairs[place].times[row]
                numbers = {"baskets": int(both), "times": round(float(times), 1)}
                said.append(
                    Reason(TOGETHER, catalogue.ids[given[place]], catalogue.titles[given[place]], numbers=numbers)
                )
            return Why(TOGETHER, said, shares, given)

        return ScoredItems(scores, proposed, explain, catalogue.ids, catalogue.titles, end_stage=asked.end_stage)


@dataclass(frozen=True, eq=False)
class Pairs:
    """What an item has with each other one in baskets.

    Attributes:
        baskets: (items,) how many hold both.
        bound: (items,) float32, the lower bound of the logarithm of the lift; 0 where no basket holds both.
        times: (items,) how often as by chance.
    """

    baskets: NDArray[np.float32]
    bound: NDArray[np.float32]
    times: NDArray[np.float64]

    @classmethod
    def of(cls, baskets: Baskets, row: int, size: int) -> "Pairs":
        """Count the pairs of an item of a catalogue of some size."""
        bound, times = np.zeros(size, dtype=np.float32), np.ones(size)
        if row >= len(baskets.counts):
            return cls(np.zeros(size, dtype=np.float32), bound, times)
        both = over_catalogue(baskets.holding(row), size)
        found = np.flatnonzero(both)
        expected = baskets.counts[found] * float(baskets.counts[row]) / len(baskets)
        least, likely = lift(both[found], expected)
        bound[found], times[found] = least, np.exp(likely)
        return cls(both, bound, times)
