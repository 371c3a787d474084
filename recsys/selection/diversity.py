"""Diversity: maximal marginal relevance over item vectors, with a dial."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Relevance:
    """Scores put between 0, the worst of some candidates, and 1, the best: so a dial means the same for all people."""

    worst: float
    spread: float

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> "Relevance":
        """Measure (candidates,) scores, of which there is at least one."""
        return cls(float(scores.min()), float(scores.max() - scores.min()))

    def of_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return relevances, (candidates,); all 0 where the measured scores were all the same."""
        if self.spread == 0:
            return np.zeros_like(scores)
        return (scores - np.float32(self.worst)) / np.float32(self.spread)


def diversified(
    relevance: NDArray[np.float32],
    vectors: NDArray[np.float32],
    dial: float,
    chosen: NDArray[np.float32],
    count: int,
    take: Callable[[int], bool],
) -> list[int]:
    """Choose places by maximal marginal relevance, greedily (Carbonell and Goldstein, "The use of MMR", 1998).

    The next item is the one with the largest ``(1 - dial) * relevance - dial * max(cosine(item, chosen item))``; the
    first one has the largest relevance. So 0 keeps the order, and 1 asks for nothing but distance after the first item.
    Ties go to the earlier place.

    Args:
        relevance: (candidates,), best first.
        vectors: (candidates, dimensions) unit vectors.
        dial: 0 to 1.
        chosen: (any, dimensions) unit vectors of what is in the list already.
        count: how many to choose.
        take: called with a place that is to be chosen; False turns it away.

    Returns:
        Places in the order in which they were chosen.
    """
    left = np.ones(len(relevance), dtype=bool)
    closest = (vectors @ chosen.T).max(axis=1) if len(chosen) else None
    places: list[int] = []
    while len(places) < count and left.any():
        value = relevance if closest is None else (1 - dial) * relevance - dial * closest
        place = int(np.argmax(np.where(left, value, -np.inf)))
        left[place] = False
        if take(place):
            places.append(place)
            to_this = vectors @ vectors[place]
            closest = to_this if closest is None else np.maximum(closest, to_this)
    return places
