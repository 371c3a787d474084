"""ItemKNN: the cosine between two items' sets of users, shrunk for items with few users.

Similarity as in Deshpande and Karypis, "Item-based top-N recommendation algorithms" (2004). The products are taken by
blocks of items, of each of which the nearest are kept before the next one: memory follows the block and what is kept,
not the number of pairs. A cluster may share the blocks.
"""

from functools import partial

import numpy as np
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.blocks import Counted, by_blocks
from recsys.experts.sparse import ItemMatrixScorer, history_matrix, keep_largest

SHRINKAGE = 10.0


def fit_knn(train: Sequences, catalogue: int, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return ItemKNN: ``|U_i ∩ U_j| / (sqrt(|U_i| |U_j|) + shrinkage)``, the diagonal left out."""
    users = history_matrix(train.liked(), catalogue, decay=1.0)
    items = users.T.tocsr()
    met = items.astype(bool).astype(np.int64) @ np.diff(users.indptr).astype(np.int64)  # entries of a row, or more
    matrix = by_blocks(partial(_nearest, users, items, neighbours), np.minimum(met, catalogue), catalogue)
    return ItemMatrixScorer(matrix, decay)


def _nearest(users: sparse.csr_matrix, items: sparse.csr_matrix, neighbours: int) -> Counted:
    """Return what makes blocks of the (catalogue, catalogue) similarities, the largest of each row.

    Args:
        users: (users, catalogue) weights.
        items: likewise, an item a row.
        neighbours: kept of each row.
    """
    counts = np.asarray(items.power(2) @ np.ones(items.shape[1], dtype=np.float32), dtype=np.float32)

    def counted(block: slice) -> sparse.csr_matrix:
        together = sparse.csr_matrix(items[block] @ users).astype(np.float32, copy=False)
        rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(together.indptr))
        together.data /= np.sqrt(counts[rows] * counts[together.indices]) + np.float32(SHRINKAGE)
        together.data[rows == together.indices] = 0
        together.eliminate_zeros()
        return keep_largest(together, neighbours)

    return counted
