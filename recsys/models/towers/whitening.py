"""Text vectors, centred and whitened, as the features that towers read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        values, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
        matrix = directions / np.sqrt(np.maximum(values, 0) + shrinkage * values[-1])
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (items, width) features with rows of about unit variance."""
        return np.asarray((vectors - self.mean) @ self.matrix, dtype=np.float32)


def text_features(vectors: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], Whitening]:
    """Return whitened features of the vectors side by side, and the map that made them from (items, total width)."""
    joined = np.concatenate(vectors, axis=1)
    whitening = Whitening.fit(joined)
    return whitening.apply(joined), whitening
