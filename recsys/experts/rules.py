"""Sequential rules: how often an item follows another within a window, near followers weighing more.

Weights as in the sequential rules of Ludewig and Jannach, "Evaluation of session-based recommendation algorithms"
(2018). Pairs are counted by blocks of antecedents, of each of which the strongest rules are kept before the next one:
memory follows the block and what is kept, not the number of pairs. A cluster may share the blocks.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.blocks import Counted, by_blocks
from recsys.experts.sparse import ItemMatrixScorer, keep_largest


def fit_rules(train: Sequences, catalogue: int, window: int, neighbours: int, decay: float) -> ItemMatrixScorer:
    """Return rules whose weight is the sum of ``1 / distance`` over all pairs at most ``window`` steps apart.

    Where events have signals, a pair counts by the product of its weights, and dislikes make none.

    A rule's weights are divided by the root of how often its antecedent occurs, so that frequent items of a history
    do not drown the rest.
    """
    liked = replace(train.liked(), times=None)
    most = window * np.bincount(liked.items, minlength=catalogue)
    matrix = by_blocks(partial(_strongest, liked, catalogue, window, neighbours), most, catalogue)
    return ItemMatrixScorer(matrix, decay, window)


def _strongest(train: Sequences, catalogue: int, window: int, neighbours: int) -> Counted:
    """Return what makes blocks of the (catalogue, catalogue) rules, antecedents by row, the strongest of each."""
    signals = train.signals
    weights = None if signals is None else signals.weights
    counts = np.bincount(train.items, weights, minlength=catalogue).astype(np.float32)
    scale = 1 / np.sqrt(np.maximum(counts, 1 if signals is None else 1e-3))
    places = np.argsort(train.items, kind="stable")  # of each item's events, one item after the other
    lasts = np.repeat(train.offsets[1:] - 1, train.lengths)[places]  # of the rows that they stand in
    occurs = np.bincount(train.items, minlength=catalogue)
    ends = np.cumsum(occurs)

    def counted(block: slice) -> sparse.csr_matrix:
        own = slice(int(ends[block.start] - occurs[block.start]), int(ends[block.stop - 1]))
        before, last = places[own], lasts[own]
        total = sparse.csr_matrix((block.stop - block.start, catalogue), dtype=np.float32)
        for distance in range(1, window + 1):
            inside = before + distance <= last
            before, last = before[inside], last[inside]  # what has no follower here has none further on
            pairs = before[train.items[before] != train.items[before + distance]]
            if not len(pairs):
                continue
            values = np.full(len(pairs), 1 / distance, dtype=np.float32)
            if weights is not None:
                values *= weights[pairs + distance] * weights[pairs]
            coordinates = (train.items[pairs] - block.start, train.items[pairs + distance])
            total += sparse.csr_matrix((values, coordinates), shape=total.shape)
        total.data *= np.repeat(scale[block], np.diff(total.indptr))
        return keep_largest(total, neighbours)

    return counted
