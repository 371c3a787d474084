"""Candidates from LanceDB: by vectors and by words.

Vectors of small catalogues are compared exactly in memory, those of large ones with LanceDB's index. Both answer the
same question: the items with the largest dot product among those that are allowed.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from lancedb.query import MatchQuery
from numpy.typing import NDArray

from recsys.experts.lexical import WORD
from recsys.experts.word_weights import WordWeights, asked
from recsys.store.index import (
    APPROXIMATE_FROM,
    BATCH,
    ROW,
    TEXT,
    UnreadableError,
    map_vectors,
    nearest,
    open_for_vectors,
    open_index,
    partitions,
    reading,
    row_ids,
    whole,
)
from recsys.store.index_parts import IndexParts, read_parts
from recsys.store.manifests import TABLE_FOLDER, IndexReference

EXACT_ALLOWED = APPROXIMATE_FROM  # with a filter: up to so many allowed items are scored exactly
PROBED = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0)  # shares of the index, to be tried
DEPTH = 3  # times as many items as are wanted lie in the parts that a search reads, at least
BEST = 10
RECALL = 0.96  # of the best, on a sample; a little more than the .95 that is wanted of everybody's
SPARE = 100  # found beyond the best, or beyond what a mask takes away on average
MANY = 0.25  # share of all items from which on a product with all of them is faster than one with those picked
CHUNK = 8_192
Kind = Literal["exact", "approximate"]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prefetch:
    """What is known of one query before what its user may not be offered is taken away.

    Attributes:
        products: (items,) with all items, where these are compared exactly.
        named: rows that the index finds, more than are wanted.
    """

    products: NDArray[np.float32] | None = None
    named: NDArray[np.int64] | None = None


NO_PREFETCH = Prefetch()


@dataclass(frozen=True)
class Worded:
    """What holds words of a query.

    Attributes:
        rows: (found,).
        shares: (found,) of the query's words that each holds, by weight: see ``WordWeights``.
    """

    rows: NDArray[np.int64]
    shares: NDArray[np.float64]

    def best_first(self, count: int) -> "Worded":
        """Return the ``count`` largest shares, ties by row."""
        order = np.lexsort((self.rows, -self.shares))[:count]
        return Worded(self.rows[order], self.shares[order])


class CandidateSource(Protocol):
    """Proposes items by their vectors and by their words."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(items, dimensions) of all items; scores are exact products with them."""

    @property
    def kind(self) -> Kind:
        """How requests without a filter are searched."""

    def prefetch(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> list[Prefetch]:
        """Look at all queries together, for a ``search`` with each of them: many share one pass.

        Args:
            queries: (rows, dimensions).
            count: how many rows each search will be asked for.
            allowed: (items,) what everybody may be offered.
        """

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], prefetched: Prefetch = NO_PREFETCH
    ) -> NDArray[np.int64]:
        """Return at least ``count`` allowed rows, those with the largest ``vectors @ query`` among them, in no order.

        They are fewer only where fewer are allowed, and more where the index has named more.

        Args:
            query: (dimensions,).
            count: how many rows.
            allowed: (items,) what may be returned.
            prefetched: this query's of ``prefetch``, where there was one.
        """

    @property
    def word_weights(self) -> WordWeights:
        """What each word of the texts weighs; counted when it is first asked for."""

    def worded(self, query: str, count: int, allowed: NDArray[np.bool_]) -> Worded:
        """Return at most ``count`` allowed rows whose texts hold words of a query, best first.

        The query is nothing but words: there is no syntax in it that could be wrong.

        Raises:
            UnreadableError: LanceDB cannot read its index.
        """

    def named(self, queries: NDArray[np.float32], count: int) -> list[NDArray[np.int64]]:
        """Return the rows that an approximate search names for each query, ``count`` or more, to be scored exactly."""

    def prepare_for_many(self) -> None:
        """Read what makes searches for many queries at once faster, in exchange for memory; they find the same."""


class VectorSource:
    """A generation's items in LanceDB: the candidate source of what was trained.

    A search asks the index where many items are allowed, for so many more as the mask will take away on average; if
    that takes away more, or the index cannot be read, the allowed ones are scored exactly.

    Attributes:
        vectors: as in ``CandidateSource``, checked against the generation; shared by all workers of a machine.
        kind: as there.
        probes: how many parts of the index an approximate search reads.
    """

    def __init__(self, folder: Path, reference: IndexReference) -> None:
        """Open the index and check what it holds.

        Raises:
            ArtifactError: it is missing, is not the generation's, or cannot be read.
        """
        with whole(folder, reference):
            self._table = open_index(folder, reference)
            self._indexed = open_for_vectors(folder, reference)
            self.vectors = map_vectors(folder, self._table, reference)
            self._row_ids = row_ids(self._table, reference)
        self.kind: Kind = "exact" if reference.rows < APPROXIMATE_FROM else "approximate"
        self._partitions = partitions(reference.rows)
        self.probes = reference.probes or self._partitions  # all of it where nobody has measured
        self._counting = threading.Lock()
        self._place = folder / f"{reference.table}{TABLE_FOLDER}"
        self._parts: IndexParts | None = None

    def prepare_for_many(self) -> None:
        """See ``CandidateSource``: an index is read into memory, a byte a number."""
        if self.kind == "approximate" and self._parts is None:
            self._parts = read_parts(self._place, self.vectors, self._nearest)

    def prefetch(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> list[Prefetch]:
        """See ``CandidateSource``."""
        if self.kind == "exact":
            return exact_products(self.vectors, queries)
        left = int(np.count_nonzero(allowed))
        if left <= max(count, EXACT_ALLOWED):
            return [NO_PREFETCH] * len(queries)
        return [Prefetch(named=rows) for rows in self._named(queries, count, left, len(allowed))]

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], prefetched: Prefetch = NO_PREFETCH
    ) -> NDArray[np.int64]:
        """See ``CandidateSource``."""
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
        return best_rows(self.vectors, query, count, np.flatnonzero(allowed), prefetched.products)

    def named(self, queries: NDArray[np.float32], count: int, probes: int | None = None) -> list[NDArray[np.int64]]:
        """See ``CandidateSource``; the index holds 8 bits a number. Nothing is named where LanceDB cannot read it.

        ``probes`` of its parts are read, by default as many as an answer reads.
        """
        if self._parts is not None:
            return self._parts.nearest(queries, count, probes or self.probes)
        try:
            return [rows for rows, _ in self._nearest(queries, count, probes or self.probes)]
        except UnreadableError as error:
            _LOG.warning("%s. All vectors are in memory and are compared instead.", error)
            return [np.empty(0, dtype=np.int64)] * len(queries)

    def tuned_probes(self, queries: NDArray[np.float32]) -> int:
        """Return the fewest probes with which queries, (rows, dimensions), find their ten best items well enough."""
        tried = (self._probes_of(share) for share in PROBED)
        enough = (
            probes
            for probes in tried
            if share_found(self.vectors, queries, BEST, self.named(queries, SPARE, probes)) >= RECALL
        )
        return next(enough, self._partitions)

    @property
    def word_weights(self) -> WordWeights:
        """See ``CandidateSource``.

        Raises:
            UnreadableError: LanceDB cannot read the texts.
        """
        with self._counting:
            return self._word_weights

    def worded(self, query: str, count: int, allowed: NDArray[np.bool_]) -> Worded:
        """See ``CandidateSource``; they are those with the highest BM25."""
        wanted, words = 2 * count, " ".join(asked(query))
        while True:
            with reading(self._table):
                search = self._table.search(MatchQuery(words, TEXT), query_type="fts")
                found = search.select([ROW, TEXT, "_score"]).limit(wanted).to_arrow()
            rows, scores = found[ROW].to_numpy(), found["_score"].to_numpy()
            order = np.lexsort((rows, -scores))
            order = order[allowed[rows[order]]]
            if len(order) >= count or len(rows) < wanted:
                kept = order[:count]
                texts = [WORD.findall(text.lower()) for text in found[TEXT].take(kept).to_pylist()]
                return Worded(rows[kept], self.word_weights.shares(query, scores[kept], texts)).best_first(count)
            wanted *= 8  # what is not allowed has taken the places

    @cached_property
    def _word_weights(self) -> WordWeights:
        with reading(self._table):
            batches = self._table.search().select([TEXT]).limit(self._table.count_rows()).to_batches(BATCH)
            return WordWeights(batch[TEXT].to_pylist() for batch in batches)

    def _nearest(
        self, queries: NDArray[np.float32], count: int, probes: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return the rows that LanceDB finds for each query, and their distances.

        Raises:
            UnreadableError: LanceDB cannot read its index.
        """
        with reading(self._table):
            found = nearest(self._indexed, queries, count, probes)
        return [(np.searchsorted(self._row_ids, numbers), distances) for numbers, distances in found]

    def _probes_of(self, share: float) -> int:
        return min(max(1, round(share * self._partitions)), self._partitions)

    def _named(self, queries: NDArray[np.float32], count: int, left: int, items: int) -> list[NDArray[np.int64]]:
        """Ask the index for so many rows that about ``count`` stay if ``left`` of all items are allowed."""
        wanted = -(-count * items // left) + SPARE
        return self.named(queries, wanted, max(self.probes, self._probes_of(DEPTH * wanted / items)))


def exact_products(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[Prefetch]:
    """Return every query's products with all items: what an exact search is prefetched by."""
    return [Prefetch(products=row) for row in queries @ vectors.T]


def best_rows(
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    count: int,
    rows: NDArray[np.int64],
    products: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Return the ``count`` of some rows with the largest products with a query, (dimensions,), in no order.

    ``products`` are those with all items, (items,), where they are known.
    """
    if len(rows) <= count:
        return rows
    scores = _products(vectors, query, rows) if products is None else products[rows]
    return rows[np.argpartition(-scores, count - 1)[:count]]


def recall(source: CandidateSource, queries: NDArray[np.float32], count: int) -> float:
    """Return the mean share of each query's ``count`` best rows that an approximate search of a source finds."""
    return share_found(source.vectors, queries, count, source.named(queries, max(count, SPARE)))


def share_found(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int, named: Sequence[NDArray[np.int64]]
) -> float:
    """Return the mean share of each query's ``count`` best rows that is among those named for it."""
    best = [np.argpartition(-(vectors @ query), count - 1)[:count] for query in queries]
    return float(np.mean([len(np.intersect1d(one, found)) / count for one, found in zip(best, named, strict=True)]))


def _products(vectors: NDArray[np.float32], query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the products of some rows: of many, from those of all; of few, in chunks, because picking copies."""
    if len(rows) > MANY * len(vectors):
        return np.asarray((vectors @ query)[rows])
    starts = range(0, len(rows), CHUNK)
    return np.concatenate([vectors[rows[start : start + CHUNK]] @ query for start in starts])
