"""Candidates from LanceDB: by vectors and by words.

Vectors of small catalogues are compared exactly in memory, those of large ones with LanceDB's index. Both answer the
same question: the items with the largest dot product among those that are allowed.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lancedb.query import MatchQuery
from numpy.typing import NDArray

from recsys.store.index import (
    APPROXIMATE_FROM,
    ROW,
    TEXT,
    IndexReference,
    UnreadableError,
    map_vectors,
    nearest,
    open_for_vectors,
    open_index,
    partitions,
    reading,
    row_ids,
)

EXACT_ALLOWED = APPROXIMATE_FROM  # with a filter: up to so many allowed items are scored exactly
PROBED = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0)  # shares of the index, to be tried
DEPTH = 3  # times as many items as are wanted lie in the parts that a search reads, at least
BEST = 10
RECALL = 0.96  # of the best, on a sample; a little more than the .95 that is wanted of everybody's
SPARE = 100  # found beyond the best, or beyond what a mask takes away on average
MANY = 0.25  # share of all items from which on a product with all of them is faster than one with those picked
CHUNK = 8_192
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prefetch:
    """What is known of one query before what its person may not be offered is taken away.

    Attributes:
        products: (items,) with all items, where these are compared exactly.
        named: rows that the index finds, more than are wanted.
    """

    products: NDArray[np.float32] | None = None
    named: NDArray[np.int64] | None = None


NO_PREFETCH = Prefetch()


class VectorSource:
    """Vector search over one generation's items.

    Attributes:
        vectors: (items, dimensions) float32, checked against the generation; shared by all workers of a machine.
        kind: ``exact`` or ``approximate``: how unfiltered requests are searched.
        probes: how many parts of the index an approximate search reads.
    """

    def __init__(self, folder: Path, reference: IndexReference) -> None:
        self._table = open_index(folder, reference)
        self._indexed = open_for_vectors(folder, reference)
        self.vectors = map_vectors(folder, self._table, reference)
        self.kind = "exact" if reference.rows < APPROXIMATE_FROM else "approximate"
        self._row_ids = row_ids(self._table, reference)
        self._partitions = partitions(reference.rows)
        self.probes = reference.probes or self._partitions  # all of it where nobody has measured

    def prefetch(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> list[Prefetch]:
        """Look at all queries together, for a ``search`` with each of them: many share one pass.

        Args:
            queries: (rows, dimensions).
            count: how many rows each search will be asked for.
            allowed: (items,) what everybody may be offered.
        """
        if self.kind == "exact":
            return [Prefetch(products=row) for row in queries @ self.vectors.T]
        left = int(np.count_nonzero(allowed))
        if left <= max(count, EXACT_ALLOWED):
            return [NO_PREFETCH] * len(queries)
        return [Prefetch(named=rows) for rows in self._named(queries, count, left, len(allowed))]

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], prefetched: Prefetch = NO_PREFETCH
    ) -> NDArray[np.int64]:
        """Return at least ``count`` allowed rows, those with the largest ``vectors @ query`` among them, in no order.

        They are fewer only where fewer are allowed, and more where the index has named more. It is asked where many
        items are allowed, for so many more as the mask will take away on average; if that takes away more, or the index
        cannot be read, the allowed ones are scored exactly.

        Args:
            query: (dimensions,).
            count: how many rows.
            allowed: (items,) what may be returned.
            prefetched: this query's of ``prefetch``, where there was one.
        """
        left = int(np.count_nonzero(allowed))
        if left <= count:
            return np.flatnonzero(allowed)
        if prefetched.products is None and left > EXACT_ALLOWED:
            rows = (
                np.empty(0, dtype=np.int64) if prefetched.named is None else prefetched.named[allowed[prefetched.named]]
            )
            if len(rows) < count:
                (rows,) = self._named(query[None], count, left, len(allowed))
                rows = rows[allowed[rows]]
            if len(rows) >= count:
                return rows
        rows = np.flatnonzero(allowed)
        return self._best(query, count, rows, prefetched.products)

    def recall(self, queries: NDArray[np.float32], count: int, probes: int | None = None) -> float:
        """Return the mean share of the ``count`` largest products of each query that LanceDB's index finds.

        Found is what it names among ``SPARE`` rows or more, which an answer scores exactly.
        """
        found = []
        for query, named in zip(queries, self._nearest(queries, max(count, SPARE), probes or self.probes), strict=True):
            exact = np.argpartition(-(self.vectors @ query), count - 1)[:count]
            found.append(len(np.intersect1d(named, exact)) / count)
        return float(np.mean(found))

    def tuned_probes(self, queries: NDArray[np.float32]) -> int:
        """Return the fewest probes with which queries, (rows, dimensions), find their ten best items well enough."""
        tried = (self._parts(share) for share in PROBED)
        return next((probes for probes in tried if self.recall(queries, BEST, probes) >= RECALL), self._partitions)

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

    def _parts(self, share: float) -> int:
        return min(max(1, round(share * self._partitions)), self._partitions)

    def _named(self, queries: NDArray[np.float32], count: int, left: int, items: int) -> list[NDArray[np.int64]]:
        """Ask the index for so many rows that about ``count`` stay if ``left`` of all items are allowed."""
        wanted = -(-count * items // left) + SPARE
        return self._nearest(queries, wanted, max(self.probes, self._parts(DEPTH * wanted / items)))

    def _nearest(self, queries: NDArray[np.float32], count: int, probes: int) -> list[NDArray[np.int64]]:
        """Return what the index finds for each query; nothing where LanceDB cannot read it.

        It finds by vectors of 8 bits a number. Whoever asked scores what is found exactly, so LanceDB need not.
        """
        try:
            with reading(self._table):
                found = nearest(self._indexed, queries, count, probes)
        except UnreadableError as error:
            _LOG.warning("%s. All vectors are in memory and are compared instead.", error)
            return [np.empty(0, dtype=np.int64)] * len(queries)
        return [np.searchsorted(self._row_ids, numbers) for numbers in found]

    def _best(
        self,
        query: NDArray[np.float32],
        count: int,
        rows: NDArray[np.int64],
        products: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        scores = self._scores(query, rows) if products is None else products[rows]
        return rows[np.argpartition(-scores, count - 1)[:count]]

    def _scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the products of some rows: of many, from those of all; of few, in chunks, because picking copies."""
        if len(rows) > MANY * len(self.vectors):
            return np.asarray((self.vectors @ query)[rows])
        starts = range(0, len(rows), CHUNK)
        return np.concatenate([self.vectors[rows[start : start + CHUNK]] @ query for start in starts])
