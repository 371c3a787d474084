"""Text vectors, centred and whitened, as the features that towers read; computed by blocks of rows."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 16_384  # in float64, 100 MB of base and adapter; fewer rows than that are one block


@dataclass(frozen=True)
class Whitening:
    """An affine map that centres text vectors and evens out their spectrum.

    Attributes:
        mean: (width,) float32.
        matrix: (width, width) float32; features are ``(vectors - mean) @ matrix``.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], shrinkage: float = 0.01) -> "Whitening":
        """Fit on (items, width) vectors; ``shrinkage`` of the largest eigenvalue is added to all of them."""
        blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(vectors), ROWS_AT_ONCE)]
        mean = _total(vectors[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(vectors)
        spread = _total(_outer(vectors[block] - mean) for block in blocks) / len(vectors)
        values, directions = np.linalg.eigh(spread)
        matrix = directions / np.sqrt(np.maximum(values, 0) + shrinkage * values[-1])
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def apply(self, vectors: NDArray[np.float32], into: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return (items, width) features with rows of about unit variance, written into an array where one is given."""
        features = np.empty((len(vectors), self.matrix.shape[1]), dtype=np.float32) if into is None else into
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            features[block] = (vectors[block] - self.mean) @ self.matrix
        return features


def text_features(vectors: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], Whitening]:
    """Return whitened features of the vectors side by side, and the map that made them from (items, total width)."""
    joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)
    whitening = Whitening.fit(joined)
    return whitening.apply(joined), whitening


def _outer(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    return centred.T @ centred


def _total(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the sum of some arrays, the first as it is."""
    return functools.reduce(np.add, parts)
