"""For you: the user's own ranking, as a row among others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.recipe import Asked, Heading, Recipe

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class ForYou(Recipe):
    """What ``Recommender.recommend`` ranks."""

    name: ClassVar[str] = "for-you"
    tells_history: ClassVar[bool] = True

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("For you")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``."""
        return recommender.ranking(asked)
