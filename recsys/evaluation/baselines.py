"""Baselines that are no part of the served system: text vectors of a BERT that never saw any behaviour."""

import numpy as np
from numpy.typing import NDArray

from recsys.experts.sparse import history_matrix
from recsys.sequences import Sequences


class FrozenText:
    """Cosine between an item's text vector and the decayed mean of the history's text vectors."""

    def __init__(self, vectors: NDArray[np.float32], decay: float) -> None:
        self._vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._decay = decay

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) cosines; all 0 for an empty history."""
        means = history_matrix(histories, len(self._vectors), self._decay) @ self._vectors
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return np.asarray(means @ self._vectors.T, dtype=np.float32)
