"""The candidate source of a generation with live items: the generation's own, and what came or changed since."""

import numpy as np
from numpy.typing import NDArray

from recsys.experts.lexical import WORD
from recsys.ranking.candidates import NO_PREFETCH, CandidateSource, Kind, Prefetch, best_rows, exact_products


class LiveSource:
    """Rows in the place of some of a source's and behind its own; those are always compared exactly.

    Attributes:
        vectors: (items, dimensions) float32 of all items, the live ones in their places.
        kind: how the others are searched.
    """

    def __init__(
        self, base: CandidateSource, vectors: NDArray[np.float32], rewritten: NDArray[np.int64], written: list[str]
    ) -> None:
        """Stand in front of a source.

        Args:
            base: of the generation as it was opened.
            vectors: of all items.
            rewritten: rows of ``base`` that hold another text now.
            written: texts of the live rows: of the rewritten ones first, then of those behind the end.
        """
        self.vectors = vectors
        self.kind: Kind = base.kind
        self._base = base
        self._own = np.ones(len(base.vectors), dtype=bool)
        self._own[rewritten] = False
        self._live = np.concatenate([rewritten, np.arange(len(base.vectors), len(vectors))])
        words = (set(WORD.findall(text.lower())) for text in written)
        self._words = dict(zip(self._live.tolist(), words, strict=True))

    def prefetch(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> list[Prefetch]:
        """See ``CandidateSource``."""
        if self.kind == "exact":
            return exact_products(self.vectors, queries)
        return self._base.prefetch(queries, count, self._of_base(allowed))

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], prefetched: Prefetch = NO_PREFETCH
    ) -> NDArray[np.int64]:
        """See ``CandidateSource``."""
        if prefetched.products is not None:
            return best_rows(self.vectors, query, count, np.flatnonzero(allowed), prefetched.products)
        found = self._base.search(query, count, self._of_base(allowed), prefetched)
        rows = np.concatenate([found, self._live[allowed[self._live]]])
        return best_rows(self.vectors, query, count, rows)

    def worded(self, query: str, count: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """See ``CandidateSource``; live items that hold every word stand first: the index of words has none of them."""
        words = set(WORD.findall(query.lower()))
        live = [row for row in self._live.tolist() if words and words <= self._words[row] and allowed[row]]
        found = self._base.worded(query, count, self._of_base(allowed))
        return np.array([*sorted(live), *found.tolist()][:count], dtype=np.int64)

    def named(self, queries: NDArray[np.float32], count: int) -> list[NDArray[np.int64]]:
        """See ``CandidateSource``; every live row is among them."""
        return [np.concatenate([rows[self._own[rows]], self._live]) for rows in self._base.named(queries, count)]

    def _of_base(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return allowed[: len(self._own)] & self._own
