"""How alike items are: by their texts, by who chose them, or by both."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.stages import EndStage
from recsys.ranking.system import CONTENT, TOWERS
from recsys.selection.catalogue import Catalogue
from recsys.serving.explanation import LIKED_TOO, Reason, Shares
from recsys.serving.recipes.chance import lift
from recsys.serving.recipes.recipe import ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

By = Literal["text", "behaviour", "both"]
TEXT, BEHAVIOUR, BOTH = "text", "behaviour", "both"
PRIOR = 10.0  # people who chose both items as chance has it: with fewer, a dozen viewers of two rarities come first
TEXT_WEIGHT = 0.5  # of the cosine beside the logarithm of a lift: parts equals among what the same people chose


@dataclass(frozen=True, eq=False)
class Likeness:
    """How like one item all others are.

    ``text``: the cosine between the base model's whitened vectors of their texts. ``behaviour``: the lower bound of the
    logarithm of the lift, how many people chose both over how many would have by chance, see ``chance.lift``: where
    nobody chose one of them, below 0. ``both``: behaviour + 0.5 · text.

    Attributes:
        row: of the item.
        by: which of them.
        parts: (items,) float32 that add up to the score, by component.
        people: (items,) how many chose both.
        times: (items,) how often as by chance.
    """

    row: int
    by: By
    parts: dict[str, NDArray[np.float32]]
    people: NDArray[np.float32]
    times: NDArray[np.float64]

    @classmethod
    def of(cls, recommender: "Recommender", row: int, by: By) -> "Likeness":
        """Compare an item with all others."""
        size, behaviour = len(recommender.catalogue), recommender.behaviour
        parts: dict[str, NDArray[np.float32]] = {}
        people, times = np.zeros(size, dtype=np.float32), np.ones(size)
        if by in (BEHAVIOUR, BOTH):
            if row < behaviour.items:
                people = over_catalogue(behaviour.together(row), size)
            counts = over_catalogue(behaviour.people().astype(np.float64), size)
            expected = counts * counts[row] / max(1, len(behaviour.chosen))
            least, likely = lift(people, expected, PRIOR)
            parts[BEHAVIOUR], times = least.astype(np.float32), np.exp(likely)
        if by in (TEXT, BOTH):
            scoring = recommender.scoring
            vectors = scoring.source.vectors[:, scoring.block(CONTENT)]
            cosines = np.asarray(vectors @ vectors[row], dtype=np.float32)
            parts[CONTENT] = cosines * np.float32(TEXT_WEIGHT if by == BOTH else 1)
        return cls(row, by, parts, people, times)

    @classmethod
    def learnt(cls, recommender: "Recommender", row: int) -> "Likeness":
        """Compare an item with all others by what the towers have learnt of both, for what is chosen next."""
        vectors = recommender.scoring.system.item_vectors
        size = len(vectors)
        return cls(row, "both", {TOWERS: vectors @ vectors[row]}, np.zeros(size, dtype=np.float32), np.ones(size))

    def proposer(self, catalogue: Catalogue, end_stage: EndStage) -> ScoredItems:
        """Return what proposes the most alike, the item itself left out."""
        proposed, item_id, title = (
            np.ones(len(catalogue), dtype=bool),
            catalogue.ids[self.row],
            catalogue.titles[self.row],
        )
        proposed[self.row] = False

        def why(row: int) -> Why:
            return self.why(row, item_id, title)

        return ScoredItems(self.scores, proposed, why, catalogue.ids, catalogue.titles, end_stage=end_stage)

    @property
    def scores(self) -> NDArray[np.float32]:
        """(items,) the more alike the higher."""
        return np.sum(list(self.parts.values()), axis=0, dtype=np.float32)

    def why(self, row: int, item_id: str, title: str) -> Why:
        """Return why an item is like the one of that id and title: all of it is that item's doing."""
        shares = {
            name: Shares(float(values[row]), np.array([float(values[row])])) for name, values in self.parts.items()
        }
        said = []
        if BEHAVIOUR in shares and shares[BEHAVIOUR].part > 0:
            numbers = {"people": int(self.people[row]), "times": round(float(self.times[row]), 1)}
            said.append(Reason(LIKED_TOO, item_id, title, numbers=numbers))
        if CONTENT in shares and shares[CONTENT].part > 0:
            said.append(Reason(CONTENT, item_id, title))
        said.sort(key=lambda one: -shares[CONTENT if one.code == CONTENT else BEHAVIOUR].part)
        return Why(BEHAVIOUR, said, shares, np.array([self.row], dtype=np.int32))
