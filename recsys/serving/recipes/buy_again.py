"""Buy again: what the user took before and is likely to take once more about now, at each item's own pace."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys.ranking.system import AGAIN
from recsys.serving.again import due
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class BuyAgain(Recipe):
    """The score is the chance that the user takes the item again about now, see ``recsys.experts.again``.

    A generation that was trained without it learns it from its snapshot, where anybody has taken anything twice.
    """

    name: ClassVar[str] = "buy-again"
    lists_seen: ClassVar[bool] = True

    @property
    def is_history(self) -> bool:
        """See ``Recipe``."""
        return True

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Buy again")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``."""
        catalogue = recommender.catalogue
        model = recommender.scoring.system.again or recommender.behaviour.again
        found = due(model, catalogue, asked.history, asked.now)
        scores = np.zeros(len(catalogue), dtype=np.float32)
        scores[found.rows] = found.scores
        proposed = np.zeros(len(catalogue), dtype=bool)
        proposed[found.rows] = True
        proposed[asked.history.disliked] = False
        reasons = dict(zip(found.rows.tolist(), found.reasons, strict=True))

        def explain(row: int) -> Why:
            return Why(AGAIN, [reasons[row]] if row in reasons else [])

        return ScoredItems(scores, proposed, explain, catalogue.ids, catalogue.titles, end_stage=asked.end_stage)
