"""iALS: matrix factorisation of implicit feedback by alternating least squares, new histories folded in.

Formula from Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets" (2008): minimise
Σ c_ui (p_ui - x_u · y_i)² + λ (Σ |x_u|² + Σ |y_i|²), where p = 1 and c = 1 + α · w for what a user did, and otherwise
p = 0 and c = 1.
The solver is the library ``implicit``. A baseline of the benchmark; nothing here is served.
"""

import warnings

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.sparse import history_matrix

FACTORS = 128
ITERATIONS = 10


class ImplicitFactors:
    """Item factors, and how to find a user's from a history.

    Attributes:
        decay: weight w of an event per newer event in the history.
    """

    def __init__(self, model: AlternatingLeastSquares, confidence: float, decay: float) -> None:
        self._model = model
        self._confidence = confidence
        self.decay = decay

    def with_decay(self, decay: float) -> "ImplicitFactors":
        """Return the same factors with another decay of the history."""
        return ImplicitFactors(self._model, self._confidence, decay)

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) scores x · y; all 0 for an empty history."""
        items = self._model.item_factors
        known = np.flatnonzero(histories.lengths)
        users = np.zeros((len(histories), items.shape[1]), dtype=np.float32)
        if len(known):
            weights = _confident(history_matrix(histories.take(known), len(items), self.decay), self._confidence)
            users[known] = self._model.recalculate_user(np.arange(len(known)), weights)
        return np.asarray(users @ items.T, dtype=np.float32)


def fit_ials(
    train: Sequences, catalogue: int, confidence: float, ridge: float, decay: float, seed: int
) -> ImplicitFactors:
    """Return factors of all training rows, every event of which weighs the same.

    Args:
        train: the training histories.
        catalogue: number of items.
        confidence: α, how much more an event counts than its absence.
        ridge: λ.
        decay: of histories when scoring.
        seed: of the first factors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # advice on the threads of BLAS, which are set by who runs this
        model = AlternatingLeastSquares(
            factors=FACTORS, regularization=ridge, iterations=ITERATIONS, num_threads=1, random_state=seed
        )
    model.fit(_confident(history_matrix(train.liked(), catalogue, decay=1.0), confidence), show_progress=False)
    return ImplicitFactors(model, confidence, decay)


def _confident(weights: sparse.csr_matrix, confidence: float) -> sparse.csr_matrix:
    confident = weights.copy()
    confident.data = 1 + confidence * confident.data
    return confident
