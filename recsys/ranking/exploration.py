"""New items get seen: how little is known of an item, how near its text is to a user's taste, and what both earn it.

What is known of an item are its events and how often it was shown. A ranking that learns from events alone would never
show a new item, and so never learn. What an item may have beside its merit is bounded: by ``SHOWN`` lists, and some
more for each event that these bring.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVENTS = 5.0  # of the training, from which on an item is no longer new
SHOWN = 100  # lists that may show an item as a new one
EARNED = 20  # more lists for each event that a list has brought it
MOST_SHOWN = 1_000  # lists, whatever they have brought
FITS = 2.0  # standard deviations over the catalogue: nearer to the user's taste than some 98 % of all items
PERFECT = 3.0  # and from here on no nearer can be told

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Exposure:
    """How often an item was shown since it is little known, and how many events of these lists name it."""

    shown: int
    brought: int


@dataclass(frozen=True)
class Taste:
    """What a new item's text is compared with, for one user.

    Attributes:
        query: (dimensions,) as the index is searched: of the towers without their bias and of the base's text.
        middle: what an average item of the catalogue has.
    """

    query: NDArray[np.float32]
    middle: float

    @classmethod
    def over(cls, vectors: NDArray[np.float32], query: NDArray[np.float32]) -> "Taste":
        """Return the taste of a query, on the scale of its products with some items, (rows, dimensions)."""
        products = np.einsum("rw,w->r", vectors, query).astype(np.float64)
        deviation = float(products.std())
        if not deviation > 0:
            return cls(np.zeros_like(query), 0.0)  # nothing is nearer than anything else
        return cls(np.asarray(query / deviation, dtype=np.float32), float(products.mean()) / deviation)

    def fit(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how near some items are, (rows,), in standard deviations from the average item of the catalogue."""
        # not `@`: equal items must tie, see ``PreparedHistory.parts``
        return np.asarray(np.einsum("rw,w->r", vectors, self.query) - self.middle, dtype=np.float32)


def novelty(counts: NDArray[np.float32], shown: NDArray[np.int64], brought: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how new items are, from 1, never seen, to 0: ``(1 - events / 5) · (1 - shown / allowance)``, not below 0.

    The allowance is ``min(100 + 20 · brought, 1000)``: an item that people take up is shown on until it is trained on.

    Args:
        counts: (items,) events of the training.
        shown: (items,) lists since then.
        brought: (items,) events that name these lists.
    """
    allowance = np.minimum(SHOWN + EARNED * brought.astype(np.float64), MOST_SHOWN)
    left = np.maximum(1 - counts.astype(np.float64) / EVENTS, 0) * np.maximum(1 - shown / allowance, 0)
    return left.astype(np.float32)


def bonus(strength: float, new: NDArray[np.float32], fit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is added to scores, (rows,), in units: ``strength · novelty · fit / 3``, the fit between 0 and 3."""
    return np.asarray(strength * new * np.clip(fit, 0, PERFECT) / PERFECT, dtype=np.float32)


def places(slots: int, k: int) -> list[int]:
    """Return where on a page of ``k`` items ``slots`` of them stand, from 1: in the middle of as many equal parts."""
    slots = min(slots, k)
    return [-(-(2 * number + 1) * k // (2 * slots)) for number in range(slots)]
