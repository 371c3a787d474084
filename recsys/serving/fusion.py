"""One list of two kinds of evidence: how near an item's meaning is to a query, and how much of its words it holds.

A convex combination of scores beats one of ranks (Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid
retrieval", 2023) where both are on a scale of their own. Meaning says something of every item, words only where an item
holds nearly all that was asked for: a name, a model's number. So the share that it holds counts by a high power.
Weight and power are those by which no kind of question of ``infra/benchmarks/search.py`` loses much: smaller weights
suit questions in other words, larger ones names of which a part is missing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORDS_WEIGHT, WORDS_POWER = 4.0, 5


@dataclass(frozen=True)
class Fused:
    """An item of the fused list: its row, its score, and what found it."""

    row: int
    score: float
    found_by: tuple[str, ...]


def fused_scores(cosines: NDArray[np.floating], shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``cosine + 4 · share⁵`` of each item, (items,).

    Args:
        cosines: (items,) between the query and the items.
        shares: (items,) of the query's words that they hold, by weight, from 0 to 1.
    """
    return np.asarray(cosines + WORDS_WEIGHT * np.asarray(shares, dtype=np.float64) ** WORDS_POWER)
