"""Because you liked X: what is like one item of the user's history, which the list names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from recsys.serving.answers import POPULAR
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.likeness import By, Likeness
from recsys.serving.recipes.popular import Popular
from recsys.serving.recipes.recipe import Asked, Heading, Recipe

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class BecauseYouLiked(Recipe):
    """Items like X, the newest item of the history that counts and that enough people chose, or else the newest of all.

    Of whom nothing is known, what is popular is offered.

    Attributes:
        item_id: X; None: the recipe chooses.
        by: what alike means, see ``Likeness``.
    """

    item_id: str | None = None
    by: By = "both"
    name: ClassVar[str] = "because-you-liked"

    LATEST: ClassVar[int] = 20  # events among which X is looked for
    ENOUGH: ClassVar[int] = 10  # people, from whom it can be told what else they chose

    @property
    def item_ids(self) -> Sequence[str]:
        """See ``Recipe``."""
        return () if self.item_id is None else (self.item_id,)

    @property
    def is_history(self) -> bool:
        """See ``Recipe``: it names an item of the history."""
        return self.item_id is None

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        row = self._liked(recommender, history)
        if row is None:
            return Heading("Popular")
        title = recommender.catalogue.titles[row]
        return Heading(f"Because you liked {title}", recommender.catalogue.ids[row], title)

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``."""
        row = self._liked(recommender, asked.history)
        if row is None:
            return replace(Popular().counted(recommender, asked), fallback=POPULAR)
        return Likeness.of(recommender, row, self.by).proposer(recommender.catalogue, asked.end_stage)

    def _liked(self, recommender: "Recommender", history: KnownHistory) -> int | None:
        """Return the row of X."""
        if self.item_id is not None:
            return recommender.catalogue.row(self.item_id)
        row = history.sequence
        liked = row.only(~row.disliked()).liked().items.tolist()  # also where dislikes teach as much as likes
        latest = list(reversed(liked[-self.LATEST :]))
        people = recommender.behaviour.people()
        known = (row for row in latest if row < len(people) and people[row] >= self.ENOUGH)
        return next(known, latest[0] if latest else None)
