"""What moves the items of a user's ranking beside what suits the user: a shop's dials, and how new an item is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.exploration import novelty
from recsys.selection.catalogue import Catalogue
from recsys.selection.dials import Dials, Units
from recsys.serving.answers import ListRequest, NewItems


@dataclass(frozen=True, eq=False)
class Adjustments:
    """The same for everybody who asks with a request.

    Attributes:
        dials: what the shop adds to the scores, or None.
        novelty: (items,) how new each item is, from 0 to 1; None: nothing is done for new ones.
        strength: units that a perfect new item gets beside its score.
        slots: places of the first page that are kept for new items.
    """

    dials: Dials | None = None
    novelty: Units | None = None
    strength: float = 0.0
    slots: int = 0

    @classmethod
    def of(
        cls, catalogue: Catalogue, counts: NDArray[np.float32], request: ListRequest, allowed: NDArray[np.bool_]
    ) -> "Adjustments":
        """Return what a request moves.

        Args:
            catalogue: what is ranked.
            counts: (items,) events of the training.
            request: what the lists shall be like.
            allowed: (items,) bool, what everybody may be offered.

        Raises:
            FilterError: the filter of a boost does not fit the catalogue.
            ObjectiveError: the objective does not.
        """
        dials = Dials.of(catalogue, request.boosts, request.objective)
        if dials is not None and request.least_alike > 1:
            dials = dials.levelled(allowed, request.least_alike)
        wish = request.new_items
        if wish is None or not (wish.slots or wish.strength):
            return cls(dials)
        return cls(dials, _novelty(catalogue, counts, wish), wish.strength, wish.slots)


NOTHING = Adjustments()


def _novelty(catalogue: Catalogue, counts: NDArray[np.float32], wish: NewItems) -> Units:
    shown, brought = np.zeros((2, len(catalogue)), dtype=np.int64)
    for item_id, exposure in wish.exposures.items():
        row = catalogue.find(item_id)
        if row is not None:
            shown[row], brought[row] = exposure.shown, exposure.brought
    return novelty(counts, shown, brought)
