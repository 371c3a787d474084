"""Sequential rules: how often an item follows another within a window, near followers weighing more.

Weights as in the sequential rules of Ludewig and Jannach, "Evaluation of session-based recommendation algorithms"
(2018).
"""

import numpy as np
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.sparse import ItemMatrixScorer, keep_largest


def fit_rules(train: Sequences, catalogue: int, window: int, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return rules whose weight is the sum of ``1 / distance`` over all pairs at most ``window`` steps apart.

    Where events have signals, a pair counts by the product of its weights, and dislikes make none.

    A rule's weights are divided by the root of how often its antecedent occurs, so that frequent items of a history
    do not drown the rest.
    """
    train = train.liked()
    rows, signals = train.rows(), train.signals
    total = sparse.csr_matrix((catalogue, catalogue), dtype=np.float32)
    for distance in range(1, window + 1):
        same = rows[distance:] == rows[:-distance]
        before, after = train.items[:-distance][same], train.items[distance:][same]
        different = before != after
        if not different.any():
            continue
        weights = np.full(int(different.sum()), 1 / distance, dtype=np.float32)
        if signals is not None:
            both = signals.weights[distance:] * signals.weights[:-distance]
            weights *= both[same][different]
        total += sparse.csr_matrix((weights, (before[different], after[different])), shape=total.shape)
    own = None if signals is None else signals.weights
    counts = np.bincount(train.items, own, minlength=catalogue).astype(np.float32)
    normalised = sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1 if signals is None else 1e-3))) @ total
    return ItemMatrixScorer(keep_largest(sparse.csr_matrix(normalised), neighbours), decay, window)
