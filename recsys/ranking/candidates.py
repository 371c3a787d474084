"""Candidates from LanceDB: by vectors and by words.

Vectors of small catalogues are compared exactly in memory, those of large ones with LanceDB's index. Both answer the
same question: the items with the largest dot product among those that are allowed.
"""

import logging
from pathlib import Path

import numpy as np
from lancedb.query import MatchQuery
from numpy.typing import NDArray

from recsys.store.index import (
    APPROXIMATE_FROM,
    ROW,
    TEXT,
    VECTOR,
    IndexReference,
    UnreadableError,
    open_index,
    read_vectors,
    reading,
)

EXACT_ALLOWED = 50_000  # with a filter: up to so many allowed items are scored exactly
PROBES = 40
SPARE = 100  # found beyond what a mask takes away on average
CHUNK = 8_192
_LOG = logging.getLogger(__name__)


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

    def products(self, queries: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return ``queries @ vectors.T``, (rows, items), for ``search`` where that is exact, or None."""
        return queries @ self.vectors.T if self.kind == "exact" else None

    def search(
        self,
        query: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.bool_],
        products: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Return ``count`` rows with the largest ``vectors @ query`` among the allowed ones, in no order.

        They are fewer only where fewer are allowed. The approximate index is asked where most items are allowed, for so
        many more as the mask will take away on average; if it takes away more, or cannot be read, the
        allowed ones are scored exactly.

        Args:
            query: (dimensions,).
            count: how many rows.
            allowed: (items,) what may be returned.
            products: (items,) this query's row of ``products``, or None.
        """
        left = int(np.count_nonzero(allowed))
        if left <= count:
            return np.flatnonzero(allowed)
        if products is None and left > EXACT_ALLOWED and 2 * left >= len(allowed):
            wanted = -(-count * len(allowed) // left) + (0 if left == len(allowed) else SPARE)
            rows = self._nearest(query, wanted)
            rows = rows[allowed[rows]][:count]
            if len(rows) == count:
                return rows
        rows = np.flatnonzero(allowed)
        scores = self._scores(query, rows) if products is None else products[rows]
        return rows[np.argpartition(-scores, count - 1)[:count]]

    def worded(self, query: str, count: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return at most ``count`` allowed rows whose texts hold words of a query, best BM25 first, ties by row.

        The query is nothing but words: there is no syntax in it that could be wrong.

        Raises:
            UnreadableError: LanceDB cannot read its index.
        """
        wanted = 2 * count
        while True:
            with reading(self._table):
                search = self._table.search(MatchQuery(query, TEXT), query_type="fts")
                found = search.select([ROW, "_score"]).limit(wanted).to_arrow()
            rows = found[ROW].to_numpy()
            rows = rows[np.lexsort((rows, -found["_score"].to_numpy()))]
            kept: NDArray[np.int64] = rows[allowed[rows]]
            if len(kept) >= count or len(rows) < wanted:
                return kept[:count]
            wanted *= 8  # what is not allowed has taken the places

    def _nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return what the index finds; nothing where LanceDB cannot read it."""
        search = self._table.search(query, vector_column_name=VECTOR).distance_type("dot").select([ROW, "_distance"])
        try:
            with reading(self._table):
                found = search.nprobes(PROBES).refine_factor(2).limit(count).to_arrow()
        except UnreadableError as error:
            _LOG.warning("%s. All vectors are in memory and are compared instead.", error)
            return np.empty(0, dtype=np.int64)
        rows: NDArray[np.int64] = found[ROW].to_numpy()
        return rows

    def _scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the products of some rows; in chunks, because picking rows copies them."""
        starts = range(0, len(rows), CHUNK)
        return np.concatenate([self.vectors[rows[start : start + CHUNK]] @ query for start in starts])
