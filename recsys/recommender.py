"""One answer, composed from a generation and a history. Knows no web.

Vector search finds the best items of the towers, the sparse experts and popularity name theirs; the union is scored
exactly as in the evaluation, filtered and cut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recsys.artifacts import ArtifactError
from recsys.columns import ITEM_ID, TITLE
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.ranking.blend import raise_keeping_sign, standardise
from recsys.ranking.candidates import VectorSource
from recsys.ranking.explain import reasons
from recsys.ranking.rules import compile_filter
from recsys.sequences import Sequences
from recsys.store.adapters import verify_adapter
from recsys.store.generations import current_id, read_generation
from recsys.store.index import IndexReference
from recsys.system import CONTENT, POPULARITY, TOWERS, System

CANDIDATES = 500  # from each source
POPULAR = "popular"


@dataclass(frozen=True)
class Recommendation:
    """One ranked item; ``fields`` are columns of the catalogue."""

    item_id: str
    score: float
    reasons: tuple[str, ...]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A ranked list and where it came from.

    Attributes:
        items: best first.
        generation: id of the generation that answered.
        adapter: id of its adapter.
        fallback: ``popular`` where there was no usable history, else None.
        missing_ids: ids of the request that the catalogue does not hold.
    """

    items: list[Recommendation]
    generation: str
    adapter: str
    fallback: str | None
    missing_ids: list[str]


class Recommender:
    """Answers from one generation. Safe to share between threads: nothing changes after opening."""

    def __init__(self, manifest: dict[str, Any], system: System, source: VectorSource, items: pl.DataFrame) -> None:
        self.generation_id: str = manifest["id"]
        self.adapter_id: str = manifest["adapter"]
        self.snapshot_id: str = manifest["snapshot"]
        self.manifest = manifest
        self.search_kind = source.kind
        self._system = system
        self._source = source
        self._items = items
        self._ids: list[str] = items[ITEM_ID].to_list()
        self._titles: list[str] = items[TITLE].to_list()
        self._rows = {item_id: row for row, item_id in enumerate(self._ids)}
        self._user_rows: dict[str, int] = {}
        self._histories = Sequences.from_lists([])
        self._item_vectors = system.towers.vectors.cpu().numpy()
        self._explaining = {TOWERS: self._item_vectors, CONTENT: system.content.vectors}
        self._widths = {TOWERS: self._item_vectors.shape[1] + 1, CONTENT: system.content.vectors.shape[1]}
        self._covariances = {name: _covariance(source.vectors[:, self._block(name)]) for name in self._widths}
        blend = system.blend
        popularity = standardise(system.popularity.counts[None], blend.powers.get(POPULARITY, 1.0))[0]
        self._popularity = blend.weights.get(POPULARITY, 0.0) * popularity

    @classmethod
    def open(cls, home: Home, generation_id: str | None = None) -> "Recommender":
        """Load a generation, the current one by default, and check every file and vector that it binds.

        Raises:
            ArtifactError: nothing is published, or something is missing or changed.
        """
        generation_id = generation_id or current_id(home)
        if generation_id is None:
            raise ArtifactError(f"Nothing is published below {home.root}. Run `recsys train` and `recsys publish`.")
        folder, manifest = read_generation(home, generation_id, verify=True)
        verify_adapter(home, manifest["adapter"])
        snapshot = open_snapshot(home, manifest["snapshot"])
        source = VectorSource(home.lance, IndexReference(**manifest["index"]))
        recommender = cls(manifest, System.load(folder), source, snapshot.items())
        recommender._user_rows = {user_id: row for row, user_id in enumerate(snapshot.user_ids())}
        recommender._histories = snapshot.sequences()
        return recommender

    @property
    def field_names(self) -> list[str]:
        """Columns of the catalogue."""
        return self._items.columns

    def known_item(self, item_id: str) -> bool:
        """Tell whether the catalogue holds an item."""
        return item_id in self._rows

    def knows_user(self, user_id: str) -> bool:
        """Tell whether the snapshot holds events of a user."""
        return user_id in self._user_rows

    def history(self, user_id: str, live: Iterable[str] = ()) -> list[str]:
        """Return the item ids of a user, oldest first: the snapshot's, then the live ones that the catalogue holds."""
        row = self._user_rows.get(user_id)
        known = [] if row is None else [self._ids[item] for item in self._histories.row(row)]
        return known + [item_id for item_id in live if item_id in self._rows]

    def user_vector(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vector of a history, (dimensions,); zero for an empty one."""
        known, _ = self._known(history)
        return self._system.towers.queries(Sequences.from_lists([known]))[0]

    def recommend(
        self,
        history: Sequence[str],
        *,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        exclude_seen: bool = True,
        exclude_ids: Sequence[str] = (),
        explain: bool = False,
        fields: Sequence[str] | None = None,
    ) -> Answer:
        """Rank items for a history of item ids, oldest first.

        Args:
            history: what the user did; unknown ids are left out and reported.
            k: length of the list; fewer where filter and exclusions leave fewer.
            filter: a structured condition on item columns, see ``recsys.ranking.rules``.
            exclude_seen: leave out items of the history.
            exclude_ids: leave out these items.
            explain: name reasons.
            fields: item columns to return; None: the title.

        Raises:
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
        """
        known, missing = self._known(history)
        excluded, unknown = self._known(exclude_ids)
        missing += unknown
        allowed = self._allowed(filter)
        if exclude_seen:
            allowed[known] = False
        allowed[excluded] = False
        if known:
            rows, scores, parts = self._rank(np.array(known, dtype=np.int32), allowed, k)
        else:
            rows = np.flatnonzero(allowed)
            counts = self._system.popularity.counts[rows]
            order = np.lexsort((rows, -counts))[:k]
            rows, scores = rows[order], counts[order]
            parts = [{POPULARITY: float(score)} for score in scores]
        why: list[tuple[str, ...]] = [()] * len(rows)
        if explain:
            past = np.array(known, dtype=np.int32)
            why = [
                reasons(part, int(row), past, self._system.experts, self._explaining, self._titles)
                for row, part in zip(rows, parts, strict=True)
            ]
        return self._answer(rows, scores, why, fields, None if known else POPULAR, missing)

    def similar(
        self, item_id: str, *, k: int = 10, filter: dict[str, Any] | None = None, fields: Sequence[str] | None = None
    ) -> Answer:
        """Rank items by the cosine between their vectors and an item's.

        Raises:
            KeyError: the catalogue does not hold the item.
        """
        row = self._rows[item_id]
        allowed = self._allowed(filter)
        allowed[row] = False
        rows = np.flatnonzero(allowed)
        cosines = self._item_vectors[rows] @ self._item_vectors[row]
        order = np.lexsort((rows, -cosines))[:k]
        return self._answer(rows[order], cosines[order], [()] * len(order), fields, None, [])

    def _rank(
        self, history: NDArray[np.int32], allowed: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], list[dict[str, float]]]:
        weights = self._system.blend.weights
        row = Sequences(history, np.array([0, len(history)], dtype=np.int64))
        dense = self._dense_queries(row)
        experts = {name: self._expert_part(name, row) for name in weights if name in self._system.experts}
        together = np.zeros(len(allowed), dtype=np.float32)
        for part in experts.values():
            together[part.indices] += part.data
        count = max(CANDIDATES, 2 * k)
        removed = int(len(allowed) - np.count_nonzero(allowed))
        query = np.concatenate([dense.get(name, np.zeros(width, np.float32)) for name, width in self._widths.items()])
        found = [self._source.search(query, count, allowed, removed)] if dense else []
        named = np.flatnonzero(together * allowed)
        if len(named) > count:
            named = named[np.argpartition(-together[named], count - 1)[:count]]
        found.append(named)
        if POPULARITY in weights:
            found.append(self._popular(count, allowed))
        rows = np.unique(np.concatenate(found))
        by_component: dict[str, NDArray[np.float32]] = {}
        vectors = self._source.vectors[rows]
        for name, part_query in dense.items():
            by_component[name] = vectors[:, self._block(name)] @ part_query
        if POPULARITY in weights:
            by_component[POPULARITY] = self._popularity[rows]
        for name, part in experts.items():
            by_component[name] = np.asarray(part[:, rows].todense(), dtype=np.float32).ravel()
        scores = np.zeros(len(rows), dtype=np.float32)
        for values in by_component.values():
            scores += values
        order = np.lexsort((rows, -scores))[:k]
        parts = [{name: float(values[place]) for name, values in by_component.items()} for place in order]
        return rows[order], scores[order], parts

    def _block(self, name: str) -> slice:
        """Return the columns of the index that belong to a dense component."""
        start = 0
        for other, width in self._widths.items():
            if other == name:
                break
            start += width
        return slice(start, start + self._widths[name])

    def _dense_queries(self, row: Sequences) -> dict[str, NDArray[np.float32]]:
        """Dense components' queries on the blend's scale: deviations over the catalogue follow from moments."""
        scaled = {}
        for name, queries in self._system.dense_queries(row).items():
            if name not in self._system.blend.weights:
                continue
            query = queries[0]
            deviation = float(np.sqrt(max(query @ self._covariances[name] @ query, 0.0)))
            factor = self._system.blend.weights[name] / deviation if deviation else 0.0
            scaled[name] = np.asarray(query * factor, dtype=np.float32)
        return scaled

    def _popular(self, count: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.flatnonzero(allowed)
        if len(rows) <= count:
            return rows
        return rows[np.argpartition(-self._system.popularity.counts[rows], count - 1)[:count]]

    def _expert_part(self, name: str, row: Sequences) -> sparse.csr_matrix:
        blend = self._system.blend
        part = self._system.experts[name].sparse_scores(row)
        part.data = raise_keeping_sign(part.data, blend.powers[name])
        size = part.shape[1]
        mean = part.data.sum(dtype=np.float64) / size
        variance = (part.data.astype(np.float64) ** 2).sum() / size - mean**2
        part.data = np.asarray(
            part.data * (blend.weights[name] / np.sqrt(variance) if variance > 0 else 0.0), np.float32
        )
        return part

    def _known(self, item_ids: Sequence[str]) -> tuple[list[int], list[str]]:
        known = [self._rows[item_id] for item_id in item_ids if item_id in self._rows]
        return known, [item_id for item_id in item_ids if item_id not in self._rows]

    def _allowed(self, condition: dict[str, Any] | None) -> NDArray[np.bool_]:
        if condition is None:
            return np.ones(len(self._ids), dtype=bool)
        expression = compile_filter(condition, self._items.schema)
        return self._items.select(expression.alias("allowed"))["allowed"].to_numpy().copy()

    def _answer(
        self,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        why: list[tuple[str, ...]],
        fields: Sequence[str] | None,
        fallback: str | None,
        missing: list[str],
    ) -> Answer:
        columns = [TITLE] if fields is None else list(fields)
        for name in columns:
            if name not in self._items.columns:
                raise KeyError(f"There is no item field {name!r}; there are {', '.join(self._items.columns)}.")
        records = self._items[rows.tolist(), columns].to_dicts() if columns else [{} for _ in rows]
        items = [
            Recommendation(self._ids[row], float(score), reason, record)
            for row, score, reason, record in zip(rows, scores, why, records, strict=True)
        ]
        return Answer(items, self.generation_id, self.adapter_id, fallback, missing)


def _covariance(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    return np.asarray(centred.T @ centred / len(centred))
