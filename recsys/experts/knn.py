"""ItemKNN: the cosine between two items' sets of users, shrunk for items with few users.

Similarity as in Deshpande and Karypis, "Item-based top-N recommendation algorithms" (2004). The products are taken by
blocks of items, of each of which the nearest are kept before the next one: memory follows the block and what is kept,
not the number of pairs.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.sparse import ItemMatrixScorer, history_matrix, keep_largest, row_blocks, stacked

SHRINKAGE = 10.0


def fit_knn(train: Sequences, catalogue: int, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return ItemKNN: ``|U_i ∩ U_j| / (sqrt(|U_i| |U_j|) + shrinkage)``, the diagonal left out."""
    users = history_matrix(train.liked(), catalogue, decay=1.0)
    return ItemMatrixScorer(stacked(_nearest(users, neighbours), catalogue), decay)


def _nearest(users: sparse.csr_matrix, neighbours: int) -> Iterator[sparse.csr_matrix]:
    """Yield blocks of the (catalogue, catalogue) similarities, the largest of each row.

    Args:
        users: (users, catalogue) weights.
        neighbours: kept of each row.
    """
    items, catalogue = users.T.tocsr(), users.shape[1]
    counts = np.asarray(items.power(2) @ np.ones(items.shape[1], dtype=np.float32), dtype=np.float32)
    met = items.astype(bool).astype(np.int64) @ np.diff(users.indptr).astype(np.int64)  # entries of a row, or more
    for block in row_blocks(np.minimum(met, catalogue)):
        together = sparse.csr_matrix(items[block] @ users).astype(np.float32, copy=False)
        rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(together.indptr))
        together.data /= np.sqrt(counts[rows] * counts[together.indices]) + np.float32(SHRINKAGE)
        together.data[rows == together.indices] = 0
        together.eliminate_zeros()
        yield keep_largest(together, neighbours)
