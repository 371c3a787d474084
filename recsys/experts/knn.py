"""ItemKNN: the cosine between two items' sets of users, shrunk for items with few users.

Similarity as in Deshpande and Karypis, "Item-based top-N recommendation algorithms" (2004).
"""

import numpy as np
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.sparse import ItemMatrixScorer, history_matrix, keep_largest

SHRINKAGE = 10.0


def fit_knn(train: Sequences, catalogue: int, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return ItemKNN: ``|U_i ∩ U_j| / (sqrt(|U_i| |U_j|) + shrinkage)``, the diagonal left out."""
    users = history_matrix(train.liked(), catalogue, decay=1.0)
    together = sparse.csr_matrix(users.T @ users).astype(np.float32)
    counts = together.diagonal()
    together.setdiag(0)
    together.eliminate_zeros()
    entries = together.tocoo()
    entries.data = entries.data / (np.sqrt(counts[entries.row] * counts[entries.col]) + SHRINKAGE)
    return ItemMatrixScorer(keep_largest(entries.tocsr(), neighbours), decay)
