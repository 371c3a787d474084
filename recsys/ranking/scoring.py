"""Scores of one generation's items for people's histories, as in the evaluation but without looking at every item.

Vector search finds the best items of the dense components, the sparse experts and popularity name theirs; any item can
be scored exactly. Many histories share one pass through the user tower and one product with the item vectors.
"""

import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts.again import BuyAgain
from recsys.ranking.blend import raise_keeping_sign, standardise, stretch_of_chances
from recsys.ranking.candidates import NO_PREFETCH, CandidateSource, Prefetch
from recsys.ranking.exploration import Taste
from recsys.ranking.raised import bands, best_of_all
from recsys.ranking.stages import EXPERTS, SEARCH, TOWER, EndStage, unmeasured
from recsys.ranking.system import AGAIN, CONTENT, POPULARITY, TOWERS, System

CHUNK = 32_768  # items
SAMPLED = 4_096  # items at most, by which it is told what is near to a taste
Rows = NDArray[np.int64]


class Scoring:
    """A system over its index. Safe to share between threads: nothing changes after it is made.

    Attributes:
        widths: columns of the index by dense component, in their order.
        by_popularity: (items,) all rows, those with the most events first; ties by row.
        unit: what dials are measured in, see ``Blend.unit``.
        unit_of_counts: the same for who gets what is popular: the standard deviation of the items' counts.
    """

    def __init__(self, system: System, source: CandidateSource) -> None:
        self.system = system
        self.source = source
        self.trained = len(system.popularity.counts)  # items over which scores are put on one scale
        self.widths = system.dense_widths()
        self.weights = system.blend.weights
        self._covariances = {name: _covariance(source.vectors[:, self.block(name)]) for name in self.widths}
        popularity = standardise(system.popularity.counts[None], system.blend.powers.get(POPULARITY, 1.0))[0]
        self.popularity = self.weights.get(POPULARITY, 0.0) * popularity
        counts = system.popularity.counts
        self.by_popularity: Rows = np.lexsort((np.arange(len(counts)), -counts))
        self.unit = system.blend.unit
        self.unit_of_counts = float(counts.std()) or 1.0

    def extended(self, system: System, source: CandidateSource) -> "Scoring":
        """Return the scoring of a system with more items, which leaves the scores of the others as they are."""
        other = copy.copy(self)
        other.system, other.source = system, source
        counts = system.popularity.counts
        other.popularity = np.concatenate([self.popularity, np.zeros(len(counts) - len(self.popularity), np.float32)])
        other.by_popularity = np.lexsort((np.arange(len(counts)), -counts))
        return other

    def block(self, name: str) -> slice:
        """Return the columns of the index that belong to a dense component."""
        start = 0
        for other, width in self.widths.items():
            if other == name:
                break
            start += width
        return slice(start, start + self.widths[name])

    def popular(self, count: int, allowed: NDArray[np.bool_], raised: NDArray[np.float32] | None = None) -> Rows:
        """Return the ``count`` most popular allowed rows, fewer only where fewer are allowed, best first.

        ``raised``, (items,) counts, is added to each item's own.
        """
        if raised is not None:
            rows = np.flatnonzero(allowed)
            counts = self.system.popularity.counts[rows] + raised[rows]
            return rows[np.argsort(-counts, kind="stable")[:count]]
        looked_at = 4 * count
        while True:
            rows = self.by_popularity[:looked_at]
            rows = rows[allowed[rows]]
            if len(rows) >= count or looked_at >= len(self.by_popularity):
                return rows[:count]
            looked_at *= 4

    def prepared(
        self,
        histories: Sequences,
        count: int = 0,
        allowed: NDArray[np.bool_] | None = None,
        end_stage: EndStage = unmeasured,
        now: int | None = None,
    ) -> list["PreparedHistory"]:
        """Prepare the scoring of some histories, none of them empty.

        Args:
            histories: rows of the catalogue, oldest first, with times where they are known.
            count: how many candidates each will be asked for; 0: none.
            allowed: (items,) what everybody may be offered, where there shall be candidates.
            end_stage: is told when a stage ends.
            now: Unix seconds, when the lists are asked for; None: with each history's last event.
        """
        raw = self.system.dense_queries(histories)
        dense = self._weighted(raw)
        query = self._side_by_side(dense, len(histories))
        end_stage(TOWER)
        experts = {
            name: self._expert_parts(name, histories, now) for name in self.weights if name in self.system.sparse
        }
        named = _added_up(list(experts.values()))
        end_stage(EXPERTS)
        prefetch = [NO_PREFETCH] * len(histories)
        if dense and allowed is not None:
            prefetch = self.source.prefetch(query, count, allowed)
        end_stage(SEARCH)
        return [
            PreparedHistory(
                self,
                {name: queries[row] for name, queries in dense.items()},
                query[row],
                {name: _row(parts, row) for name, parts in experts.items()},
                None if named is None else _row(named, row),
                prefetch[row],
                {name: queries[row] for name, queries in raw.items()},
            )
            for row in range(len(histories))
        ]

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return what the index is asked for some histories, (rows, dimensions)."""
        return self._side_by_side(self._dense_queries(histories), len(histories))

    def _side_by_side(self, dense: dict[str, NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
        parts = [dense.get(name, np.zeros((rows, width), np.float32)) for name, width in self.widths.items()]
        return np.concatenate(parts, axis=1)

    def taste(self, queries: dict[str, NDArray[np.float32]]) -> Taste:
        """Return what new items' texts are compared with, from a user's query of each dense component, (width,).

        Towers and the base's text count alike, each on the scale of its deviation over the catalogue.
        """
        query = np.zeros(self.source.vectors.shape[1], dtype=np.float32)
        for name in (TOWERS, CONTENT):
            own = queries[name].copy()
            if name == TOWERS:
                own[-1] = 0.0  # the bias tells how rare an item is, and a new one's is that of the rarest
            deviation = float(np.sqrt(np.maximum(own @ self._covariances[name] @ own, 0.0)))
            if deviation > 0:
                query[self.block(name)] = own / deviation
        return Taste.over(self._sampled, query)

    @cached_property
    def _sampled(self) -> NDArray[np.float32]:
        """Vectors of the catalogue's items, evenly spaced where they are many."""
        return np.ascontiguousarray(self.source.vectors[: self.trained][:: -(-self.trained // SAMPLED)])

    def _dense_queries(self, histories: Sequences) -> dict[str, NDArray[np.float32]]:
        return self._weighted(self.system.dense_queries(histories))

    def _weighted(self, raw: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Dense components' queries on the blend's scale: deviations over the catalogue follow from moments."""
        scaled = {}
        for name, queries in raw.items():
            if name not in self.weights:
                continue
            variance = np.einsum("rw,rw->r", queries @ self._covariances[name], queries)
            deviation = np.sqrt(np.maximum(variance, 0.0))
            factor = np.divide(self.weights[name], deviation, out=np.zeros_like(deviation), where=deviation > 0)
            scaled[name] = np.asarray(queries * factor[:, None], dtype=np.float32)
        return scaled

    def _expert_parts(self, name: str, histories: Sequences, now: int | None) -> sparse.csr_matrix:
        """Return (rows, items) scores of a sparse expert on the blend's scale, columns sorted within each row."""
        blend, expert = self.system.blend, self.system.sparse[name]
        if isinstance(expert, BuyAgain):
            parts = expert.sparse_scores(histories, None if now is None else np.full(len(histories), now))
        else:
            parts = expert.sparse_scores(histories)
        parts = _in_order(parts)
        parts.data = raise_keeping_sign(parts.data, blend.powers[name])
        size = self.trained
        if name == AGAIN:
            parts.data *= np.float32(blend.weights[name] * stretch_of_chances(size))
            return parts
        for start, end in zip(parts.indptr[:-1], parts.indptr[1:], strict=True):
            data = parts.data[start:end]
            own = data[parts.indices[start:end] < size].astype(np.float64)  # without live items
            mean = own.sum() / size
            variance = (own**2).sum() / size - mean**2
            data *= np.float32(blend.weights[name] / np.sqrt(variance) if variance > 0 else 0.0)
        return parts


class PreparedHistory:
    """One history, ready to score any items.

    Attributes:
        dense: queries of the dense components on the blend's scale, by name.
        query: the same side by side, as the index is searched; 0 for components without a weight.
    """

    def __init__(
        self,
        scoring: Scoring,
        dense: dict[str, NDArray[np.float32]],
        query: NDArray[np.float32],
        experts: dict[str, tuple[NDArray[np.int32], NDArray[np.float32]]],
        named: tuple[NDArray[np.int32], NDArray[np.float64]] | None,
        prefetched: Prefetch,
        raw: dict[str, NDArray[np.float32]],
    ) -> None:
        self.dense = dense
        self._scoring = scoring
        self.query = query
        self._experts = experts
        self._named_by_experts = named
        self._prefetched = prefetched
        self._raw = raw

    def candidates(self, count: int, allowed: NDArray[np.bool_], raised: NDArray[np.float32] | None = None) -> Rows:
        """Return the union of up to ``count`` allowed rows from each source, in the order of the catalogue.

        With ``raised``, (items,) on the blend's scale, also those that are the best with it.
        """
        named = np.zeros(len(allowed), dtype=bool)  # sorting them takes longer
        named[self._sourced(count, allowed)] = True
        if raised is not None:
            named[self._raised(count, allowed, raised)] = True
        return np.flatnonzero(named)

    def parts(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return what each component adds to the scores of some rows, (rows,) by name.

        An item's number depends on nothing but its vector and the history, so that equal items tie.
        """
        parts: dict[str, NDArray[np.float32]] = {}
        vectors = self._scoring.source.vectors[rows] if self.dense else None
        for name, query in self.dense.items():
            # not `@`: BLAS adds up in another order at the edges of its blocks
            parts[name] = np.einsum("rw,w->r", vectors[:, self._scoring.block(name)], query)  # type: ignore[index]
        if POPULARITY in self._scoring.weights:
            parts[POPULARITY] = self._scoring.popularity[rows]
        for name, (columns, values) in self._experts.items():
            parts[name] = _looked_up(columns, values, rows)
        return parts

    def near_to_taste(self, count: int, allowed: NDArray[np.bool_]) -> Rows:
        """Return the ``count`` allowed rows whose texts are nearest to the user's taste, in no order."""
        return self._scoring.source.search(self._taste.query, count, allowed)

    def fit(self, rows: Rows) -> NDArray[np.float32]:
        """Return how near the texts of some rows are to the user's taste, (rows,), see ``Taste.fit``."""
        return self._taste.fit(self._scoring.source.vectors[rows])

    @cached_property
    def _taste(self) -> Taste:
        return self._scoring.taste(self._raw)

    def _sourced(self, count: int, allowed: NDArray[np.bool_]) -> Rows:
        found = [np.empty(0, dtype=np.int64)]
        if self.dense:
            found.append(self._scoring.source.search(self.query, count, allowed, self._prefetched))
        if self._named_by_experts is not None:
            found.append(_best_named(*self._named_by_experts, count, allowed))
        if POPULARITY in self._scoring.weights:
            found.append(self._scoring.popular(count, allowed))
        return np.concatenate(found)

    def _raised(self, count: int, allowed: NDArray[np.bool_], raised: NDArray[np.float32]) -> Rows:
        if self._prefetched.products is not None:
            scores = self._prefetched.products + self._scoring.popularity
            for columns, values in self._experts.values():
                scores[columns] += values
            return best_of_all(scores, raised, count, allowed)
        found = [np.empty(0, dtype=np.int64)]
        for band in bands(raised, allowed):
            found.append(self._sourced(count, band))
            if raised[band].max() > 0:  # of what nothing speaks for but the dials, what is popular
                found.append(self._scoring.popular(count, band))
        return np.concatenate(found)


def total(parts: dict[str, NDArray[np.float32]], rows: Rows) -> NDArray[np.float32]:
    """Return the scores that the parts add up to, (rows,)."""
    scores = np.zeros(len(rows), dtype=np.float32)
    for values in parts.values():
        scores += values
    return scores


def _in_order(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the same with its columns in order: by counting, where entries are many, which is faster than sorting."""
    if matrix.nnz > matrix.shape[1]:
        return matrix.tocsc().tocsr()
    matrix.sort_indices()
    return matrix


def _added_up(parts: list[sparse.csr_matrix]) -> sparse.csr_matrix | None:
    """Return the sums of all experts' scores, float64, without those that are 0; None where there are no experts."""
    if not parts:
        return None
    sums = parts[0].astype(np.float64)
    sums.eliminate_zeros()
    for other in parts[1:]:
        sums = sums + other.astype(np.float64)
    return sums


def _best_named(columns: NDArray[np.int32], sums: NDArray[np.float64], count: int, allowed: NDArray[np.bool_]) -> Rows:
    """Return the allowed rows with the largest sums over the sparse experts, of those that they name at all."""
    kept = allowed[columns]
    columns, sums = columns[kept], sums[kept]
    if len(columns) > count:
        columns = columns[np.argpartition(-sums, count - 1)[:count]]
    return columns.astype(np.int64)


def _row(matrix: sparse.csr_matrix, row: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
    start, end = matrix.indptr[row : row + 2]
    return matrix.indices[start:end], matrix.data[start:end]


def _looked_up(columns: NDArray[np.int32], values: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
    """Return a sparse row's values at some places, 0 where it holds none; ``columns`` are sorted."""
    found = np.zeros(len(rows), dtype=np.float32)
    places = np.searchsorted(columns, rows)
    inside = places < len(columns)
    inside[inside] = columns[places[inside]] == rows[inside]
    found[inside] = values[places[inside]]
    return found


def _covariance(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (width, width), added up in chunks: all deviations at once would take twice the memory of the vectors."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), CHUNK):
        centred = vectors[start : start + CHUNK] - mean
        total += centred.T @ centred
    return total / len(vectors)
