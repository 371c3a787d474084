"""Items as a query is compared with them by meaning: the cosine of the texts' own vectors.

A generation keeps the base's vectors whitened, which suits comparing an item with a history. A query is nearer to what
it asks for without that, as the base has learnt; the whitening is undone in the product, without a second copy of the
vectors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.models.towers.whitening import Whitening

ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Meaning:
    """Text vectors of items, as they are or as ``mean + length · (vectors @ directions)``.

    Attributes:
        vectors: (items, width).
        mean: (width,), or None where the vectors are as they are.
        directions: (width, width), likewise.
        lengths: (items,), likewise.
    """

    vectors: NDArray[np.float32]
    mean: NDArray[np.float32] | None = None
    directions: NDArray[np.float32] | None = None
    lengths: NDArray[np.float32] | None = None

    @classmethod
    def whitened(cls, vectors: NDArray[np.float32], whitening: Whitening) -> "Meaning":
        """Return what unit vectors, (items, width), were before they were whitened and scaled to length 1.

        They had length 1 then, too, so ``|mean + length · direction| = 1`` says how long the scaling made them.
        """
        mean = whitening.mean
        directions = np.linalg.inv(whitening.matrix.astype(np.float64)).astype(np.float32)
        lengths = np.empty(len(vectors), dtype=np.float32)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            rows = vectors[start : start + ROWS_AT_ONCE] @ directions
            square, along = np.maximum((rows * rows).sum(axis=1), 1e-12), rows @ mean
            lengths[start : start + len(rows)] = (np.sqrt(along**2 + square * (1 - mean @ mean)) - along) / square
        return cls(vectors, mean, directions, lengths)

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (items,) cosines with a unit vector, (width,)."""
        if self.mean is None or self.directions is None or self.lengths is None:
            return np.asarray(self.vectors @ query)
        return np.asarray(query @ self.mean + self.lengths * (self.vectors @ (self.directions @ query)))
