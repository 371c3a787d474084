"""Metrics as pure functions: of the rank of the one held-out item, and of recommendation lists.

Accuracy functions return a value a target, so that a mean, a slice or a bootstrap can follow. Ranks count from 1 in
the ranking of the full catalogue; infinity stands for a target that cannot be recommended.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROWS_AT_ONCE = 16_384  # of vectors whose lengths are taken


def recall(ranks: NDArray[np.floating], k: int) -> Floats:
    """Return 1 where the target is among the first k, else 0.

    With one relevant item a list, recall@k is the hit rate: ``[rank ≤ k]`` (Manning, Raghavan, Schütze: Introduction to
    Information Retrieval, §8.3).

    Args:
        ranks: (n,) ranks from 1; infinity gives 0.
        k: length of the list, at least 1.

    Returns:
        (n,) values 0 or 1.
    """
    return (_checked(ranks, k) <= k).astype(np.float64)


def ndcg(ranks: NDArray[np.floating], k: int) -> Floats:
    """Return the normalised discounted cumulative gain at k.

    ``1 / log2(1 + rank)`` for rank ≤ k, else 0: the ideal list has its one relevant item first, with gain 1, so
    no further normalisation is left (Järvelin, Kekäläinen 2002).

    Args:
        ranks: (n,) ranks from 1; infinity gives 0.
        k: length of the list, at least 1.

    Returns:
        (n,) values in [0, 1].
    """
    places = _checked(ranks, k)
    return np.where(places <= k, 1 / np.log2(1 + places), 0.0)


def mrr(ranks: NDArray[np.floating], k: int) -> Floats:
    """Return the reciprocal rank at k: ``1 / rank`` for rank ≤ k, else 0 (Voorhees 1999).

    Args:
        ranks: (n,) ranks from 1; infinity gives 0.
        k: length of the list, at least 1.

    Returns:
        (n,) values in [0, 1].
    """
    places = _checked(ranks, k)
    return np.where(places <= k, 1 / places, 0.0)


def coverage(lists: NDArray[np.integer], catalogue: int, k: int) -> float:
    """Return the share of the catalogue that is in somebody's first k (Herlocker et al. 2004, "catalogue coverage").

    Args:
        lists: (n, ≥ k) item indices, best first; −1 pads a short list.
        catalogue: number of items, at least 1.
        k: length of the list, at least 1.
    """
    shown = lists[:, :k]
    return len(np.unique(shown[shown >= 0])) / catalogue


def novelty(lists: NDArray[np.integer], counts: NDArray[np.integer], k: int) -> float:
    """Return the mean self-information of what is recommended, in bits: how unexpected it is by popularity.

    ``mean(−log2 p(item))`` over the first k of all lists, with ``p = (count + 1) / (events + items)``: one event is
    added to each item so that an item never seen in training stays finite (Zhou et al. 2010, smoothed). Empty lists
    add nothing; without any item the result is 0.

    Args:
        lists: (n, ≥ k) item indices, best first; −1 pads a short list.
        counts: (catalogue,) training events of each item.
        k: length of the list, at least 1.
    """
    shown = lists[:, :k]
    bits = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    shown = shown[shown >= 0]
    return float(bits[shown].mean()) if len(shown) else 0.0


def diversity(lists: NDArray[np.integer], vectors: NDArray[np.floating], k: int) -> float:
    """Return the intra-list diversity: the mean over lists of the mean ``1 − cosine`` over all pairs of a list.

    It is 0 when all items of a list point the same way and can exceed 1 (Ziegler et al. 2005; Vargas, Castells 2011).
    Lists with fewer than two items are left out; without any other list the result is 0. A zero vector has cosine 0
    with everything.

    Args:
        lists: (n, ≥ k) item indices, best first; −1 pads a short list.
        vectors: (catalogue, d) item vectors of any length.
        k: length of the list, at least 1.
    """
    shown = lists[:, :k]
    parts = [vectors[start : start + ROWS_AT_ONCE] for start in range(0, len(vectors), ROWS_AT_ONCE)]
    norms = np.concatenate([np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
    totals = np.zeros((len(shown), vectors.shape[1]))  # sum of the unit vectors of each list
    own = np.zeros(len(shown))  # sum of their cosines with themselves
    for column in shown.T:
        present = column >= 0
        lengths = norms[column[present]]
        totals[present] += np.where(lengths > 0, vectors[column[present]] / np.where(lengths > 0, lengths, 1), 0)
        own[present] += lengths[:, 0] > 0
    sizes = (shown >= 0).sum(axis=1)
    enough = sizes > 1
    if not enough.any():
        return 0.0
    pairs = sizes[enough] * (sizes[enough] - 1)
    cosines = ((totals[enough] ** 2).sum(axis=1) - own[enough]) / pairs  # |Σv|² = Σ|v|² + Σ of ordered pairs
    return float((1 - cosines).mean())


def _checked(ranks: NDArray[np.floating], k: int) -> Floats:
    places: Floats = np.asarray(ranks, dtype=np.float64)
    if k < 1:
        raise ValueError(f"k is {k}; a list has at least one place.")
    if not (places >= 1).all():  # false for NaN too
        raise ValueError("Ranks count from 1 and are never NaN; use infinity for a target that cannot be recommended.")
    return places
