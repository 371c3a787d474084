"""The candidate source of a generation with live items: the generation's own, and what came or changed since."""

import numpy as np
from numpy.typing import NDArray

from recsys.experts.lexical import WORD
from recsys.experts.word_weights import WordWeights, asked
from recsys.ranking.candidates import NO_PREFETCH, CandidateSource, Kind, Prefetch, Worded, best_rows, exact_products


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
        self._words = [WORD.findall(text.lower()) for text in written]
        self._different = [set(words) for words in self._words]

    def prefetch(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> list[Prefetch]:
        """See ``CandidateSource``."""
        if self.kind == "exact":
            return exact_products(self.vectors, queries)
        return self._base.prefetch(queries, count, self._of_base(allowed))

    def prepare_for_many(self) -> None:
        """See ``CandidateSource``."""
        self._base.prepare_for_many()

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_], prefetched: Prefetch = NO_PREFETCH
    ) -> NDArray[np.int64]:
        """See ``CandidateSource``."""
        if prefetched.products is not None:
            return best_rows(self.vectors, query, count, np.flatnonzero(allowed), prefetched.products)
        found = self._base.search(query, count, self._of_base(allowed), prefetched)
        rows = np.concatenate([found, self._live[allowed[self._live]]])
        return best_rows(self.vectors, query, count, rows)

    @property
    def word_weights(self) -> WordWeights:
        """See ``CandidateSource``; live items change them next to nothing, and are left out."""
        return self._base.word_weights

    def worded(self, query: str, count: int, allowed: NDArray[np.bool_]) -> Worded:
        """See ``CandidateSource``; live items are weighed here: the index of words has none of them."""
        found, weights, words = self._base.worded(query, count, self._of_base(allowed)), self.word_weights, asked(query)
        holding = [not own.isdisjoint(words) for own in self._different]
        places = np.flatnonzero(np.array(holding, dtype=bool) & allowed[self._live])
        texts = [self._words[place] for place in places]
        shares = weights.shares(query, weights.scores(query, texts), texts)
        rows = np.concatenate([self._live[places], found.rows])
        return Worded(rows, np.concatenate([shares, found.shares])).best_first(count)

    def named(self, queries: NDArray[np.float32], count: int) -> list[NDArray[np.int64]]:
        """See ``CandidateSource``; every live row is among them."""
        return [np.concatenate([rows[self._own[rows]], self._live]) for rows in self._base.named(queries, count)]

    def _of_base(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return allowed[: len(self._own)] & self._own
