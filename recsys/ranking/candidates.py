"""Candidates from the vector index: an exact product in memory for small catalogues, LanceDB's index for large ones.

Both answer the same question: the items with the largest dot product among those that are allowed.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.store.index import APPROXIMATE_FROM, ROW, VECTOR, IndexReference, open_index, read_vectors

EXACT_ALLOWED = 50_000  # with a filter: up to so many allowed items are scored exactly
PROBES = 40


class VectorSource:
    """Vector search over one generation's items.

    Attributes:
        vectors: (items, dimensions) float32, as read from LanceDB and checked against the generation.
        kind: ``exact`` or ``approximate``: how unfiltered requests are searched.
    """

    def __init__(self, folder: Path, reference: IndexReference) -> None:
        self._table = open_index(folder, reference)
        self.vectors = read_vectors(self._table, reference)
        self.kind = "exact" if reference.rows < APPROXIMATE_FROM else "approximate"

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], removed: int
    ) -> NDArray[np.int64]:
        """Return at most ``count`` rows with the largest ``vectors @ query`` among the allowed ones, in no order.

        Args:
            query: (dimensions,).
            count: how many rows.
            allowed: (items,) what may be returned.
            removed: how many items are not allowed, 0 to search without a look at the mask.
        """
        if self.kind == "exact" or len(allowed) - removed <= EXACT_ALLOWED:
            rows = np.flatnonzero(allowed)
            if len(rows) <= count:
                return rows
            scores = (self.vectors if len(rows) == len(allowed) else self.vectors[rows]) @ query
            return rows[np.argpartition(-scores, count - 1)[:count]]
        found = (
            self._table.search(query, vector_column_name=VECTOR)
            .distance_type("dot")
            .select([ROW, "_distance"])
            .nprobes(PROBES)
            .refine_factor(2)
            .limit(min(count + removed, 4 * count) if removed else count)
            .to_arrow()
        )
        rows = found[ROW].to_numpy()
        return rows[allowed[rows]][:count]
