"""Recently viewed: what the user looked at last, newest first, live events among it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys.database.moments import moment
from recsys.serving.explanation import RECENT, Reason
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class RecentlyViewed(Recipe):
    """The score is ``1 / (1 + n)`` with ``n`` different items looked at since: 1 for the last one."""

    name: ClassVar[str] = "recently-viewed"
    lists_seen: ClassVar[bool] = True

    @property
    def is_history(self) -> bool:
        """See ``Recipe``."""
        return True

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("Recently viewed")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``."""
        catalogue = recommender.catalogue
        newest = list(dict.fromkeys(reversed(asked.history.rows.tolist())))
        scores = np.zeros(len(catalogue), dtype=np.float32)
        scores[newest] = 1 / (1 + np.arange(len(newest)))
        proposed = np.zeros(len(catalogue), dtype=bool)
        proposed[newest] = True
        proposed[asked.history.disliked] = False
        when = dict(
            zip(asked.history.rows.tolist(), asked.history.events.times, strict=True)
        )  # of several the newest stays

        def explain(row: int) -> Why:
            time = when.get(row)
            date = None if time is None else moment(time).date().isoformat()
            return Why(RECENT, [Reason(RECENT, numbers={"date": date})] if date else [])

        return ScoredItems(scores, proposed, explain, catalogue.ids, catalogue.titles, end_stage=asked.end_stage)
