"""Candidates where dials raise some items and bury others: those that reach the list then, not those that did before.

Among items that are raised alike the order is the user's own. So each such group is searched by itself; of a smaller
catalogue, whose products with the query are all there, everything is looked at.
"""

import numpy as np
from numpy.typing import NDArray

BANDS = 8  # groups that are searched; where more sums differ, neighbours share one


def bands(raised: NDArray[np.float32], allowed: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the allowed items in groups that are raised alike, or nearly so where there are many different sums.

    Args:
        raised: (items,).
        allowed: (items,) bool.
    """
    if not allowed.any():
        return []
    values = np.unique(raised[allowed])
    if len(values) <= BANDS:
        return [allowed & (raised == value) for value in values]
    edges = np.linspace(values[0], values[-1], BANDS + 1)[1:-1]
    group = np.searchsorted(edges, raised, side="right")
    found = [allowed & (group == number) for number in range(BANDS)]
    return [band for band in found if band.any()]


def best_of_all(
    scores: NDArray[np.float32], raised: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return up to ``count`` allowed rows with the largest sums, ties by row; what nobody would name is not raised up.

    Args:
        scores: (items,) the user's own; 0 where no component knows anything of an item.
        raised: (items,) on the same scale.
        count: how many.
        allowed: (items,) bool.
    """
    rows = np.flatnonzero(allowed & ((scores != 0) | (raised > 0)))
    sums = scores[rows] + raised[rows]
    if len(rows) > count:
        kept = sums >= np.partition(sums, len(sums) - count)[len(sums) - count]
        rows, sums = rows[kept], sums[kept]
    return rows[np.argsort(-sums, kind="stable")[:count]]
