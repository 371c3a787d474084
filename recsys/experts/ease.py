"""EASE: the closed-form linear autoencoder over items.

Formula from Steck, "Embarrassingly shallow autoencoders for sparse data" (2019): B = I - P · diag(1 / diag(P)) with
P = (XᵀX + λI)⁻¹ and a zero diagonal.
"""

import numpy as np
from scipy import linalg, sparse

from recsys.data.sequences import Sequences
from recsys.errors import SettingError
from recsys.experts.sparse import ItemMatrixScorer, history_matrix

CHUNK = 1_024  # rows of weights looked at together


def fit_ease(train: Sequences, catalogue: int, ridge: float, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return EASE with the ``neighbours`` weights of largest size kept for each item of a history.

    Memory is 4 · catalogue² bytes for a moment; items without training events get no weights.
    """
    users = history_matrix(train.liked(), catalogue, decay=1.0)
    known = np.flatnonzero(np.asarray(users.sum(axis=0)).ravel())
    if len(known) == 0:
        return ItemMatrixScorer(sparse.csr_matrix((catalogue, catalogue), dtype=np.float32), decay)
    gram = np.asarray((users[:, known].T @ users[:, known]).todense(), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += ridge
    # The transpose is the same matrix in LAPACK's own order, so it is inverted in place.
    factor, status = linalg.lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    if status != 0:
        raise SettingError(f"EASE needs a positive ridge; {ridge} left the matrix singular. Raise ease_ridge.")
    lower, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    diagonal = np.diag(lower)
    count = min(neighbours, len(known))
    columns = np.empty((len(known), count), dtype=np.int32)
    values = np.empty((len(known), count), dtype=np.float32)
    places = np.arange(len(known))
    for start in range(0, len(known), CHUNK):
        part = places[start : start + CHUNK]
        below = places <= part[:, None]  # the other triangle of the inverse was never written
        weights = -np.where(below, lower[part], lower[:, part].T) / diagonal
        weights[places[: len(part)], part] = 0
        columns[part] = np.argpartition(-np.abs(weights), count - 1, axis=1)[:, :count]
        values[part] = np.take_along_axis(weights, columns[part], axis=1)
    rows = np.repeat(known, count)
    matrix = sparse.csr_matrix((values.ravel(), (rows, known[columns].ravel())), shape=(catalogue, catalogue))
    matrix.eliminate_zeros()
    return ItemMatrixScorer(matrix, decay)
