"""One answer, composed from a generation and a history. Knows no web.

The fallback chain: who has a usable history is answered by the blend (``fallback`` None); where its candidates do not
fill the list, the most popular of the other allowed items do (``filled``); of whom nothing is known, everybody's
favourites are offered (``popular``).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.config import ModelConfig, from_dict
from recsys.data.columns import TITLE
from recsys.data.sequences import Sequences
from recsys.data.snapshot import open_snapshot
from recsys.data.text import item_texts
from recsys.home import Home
from recsys.ranking.candidates import VectorSource, recall
from recsys.ranking.scoring import PreparedHistory, Rows, Scoring, total
from recsys.ranking.stages import EXPLAIN, FIELDS, RANKER, RULES, SEARCH, EndStage, unmeasured
from recsys.ranking.system import POPULARITY, System
from recsys.selection.catalogue import Catalogue
from recsys.selection.selection import Limits, choose, place_promoted
from recsys.serving.answers import FILLED, POPULAR, Answer, ListRequest, Recommendation
from recsys.serving.attribution import attribute
from recsys.serving.explanation import Explanation, Shares, explanation, reasons
from recsys.serving.words import SharedWords
from recsys.store.adapters import verify_adapter
from recsys.store.generations import current_id, read_generation
from recsys.store.index import IndexReference

CANDIDATES = 300  # from each source; 200 hold the 50 best of a scan of everything, of 1,682 and of 100,000 items
CHECKED_ITEMS = 16_384  # whose vectors are compared at once when a generation is opened


class Recommender:
    """Answers from one generation. Safe to share between threads: nothing changes after opening but caches."""

    def __init__(self, manifest: dict[str, Any], system: System, source: VectorSource, items: pl.DataFrame) -> None:
        self.generation_id: str = manifest["id"]
        self.adapter_id: str = manifest["adapter"]
        self.snapshot_id: str = manifest["snapshot"]
        self.manifest = manifest
        self.items_version = 0  # of the live items that this holds; 0: none
        self.items_shown = 0  # the change up to which it holds all of them: the texts of later ones are not encoded yet
        self.search_kind = source.kind
        self.catalogue = Catalogue(items)
        self.scoring = Scoring(system, source)
        self._system = system
        self._user_rows: dict[str, int] = {}
        self._histories = Sequences.from_lists([])
        self._times_known = False
        self._item_vectors = system.towers.vectors.cpu().numpy()
        text = from_dict(ModelConfig, manifest["settings"]).text
        self._words = SharedWords(lambda: item_texts(items, text))

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
        system = System.load(folder)
        _check_index(system, source, generation_id)
        recommender = cls(manifest, system, source, snapshot.items())
        recommender._user_rows = {user_id: row for row, user_id in enumerate(snapshot.user_ids())}
        recommender._histories = snapshot.sequences()
        recommender._times_known = snapshot.times_known
        return recommender

    def rebind(self, system: System, scoring: Scoring, words: SharedWords) -> None:
        """Answer from another system, in a copy that nobody uses yet."""
        self._system, self.scoring, self._words = system, scoring, words
        self._item_vectors = system.towers.vectors.cpu().numpy()

    @property
    def field_names(self) -> list[str]:
        """Columns of the catalogue."""
        return self.catalogue.fields

    def known_item(self, item_id: str) -> bool:
        """Tell whether the catalogue holds an item."""
        return item_id in self.catalogue

    def knows_user(self, user_id: str) -> bool:
        """Tell whether the snapshot holds events of a user."""
        return user_id in self._user_rows

    def history(self, user_id: str, live: Iterable[str] = (), after: int | None = None) -> list[str]:
        """Return the item ids of a user, oldest first: the snapshot's, then the live ones that the catalogue holds.

        Args:
            user_id: whose.
            live: item ids of events since, oldest first.
            after: microseconds since 1970; the snapshot's events up to then are left out, all where times are unknown.
        """
        known = [item_id for item_id, time in self.snapshot_events(user_id) if after is None or (time or 0) > after]
        return known + [item_id for item_id in live if item_id in self.catalogue]

    def snapshot_events(self, user_id: str) -> list[tuple[str, int | None]]:
        """Return item ids and times (microseconds since 1970) of a user's events in the snapshot, oldest first."""
        row = self._user_rows.get(user_id)
        if row is None:
            return []
        item_ids = [self.catalogue.ids[item] for item in self._histories.row(row)]
        times = self._histories.times
        if times is None or not self._times_known:
            return [(item_id, None) for item_id in item_ids]
        own = times[self._histories.offsets[row] : self._histories.offsets[row + 1]]
        return [(item_id, int(time) * 1_000_000) for item_id, time in zip(item_ids, own, strict=True)]

    def cold_share(self, item_ids: Sequence[str]) -> float:
        """Return the share of some items that have no training event; 0 for none."""
        rows, _ = self.catalogue.split(item_ids)
        return float(np.mean(self._system.popularity.counts[rows] == 0)) if rows else 0.0

    def user_vector(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vector of a history, (dimensions,); zero for an empty one."""
        known, _ = self.catalogue.split(history)
        return self._system.towers.queries(Sequences.from_lists([known]))[0]

    def index_recall(self, histories: Sequence[Sequence[str]], count: int) -> float:
        """Return the share of the ``count`` best items by vectors that the index finds, over histories that it knows.

        1 where vectors are compared exactly.
        """
        split = [self.catalogue.split(history)[0] for history in histories]
        known = [rows for rows in split if rows]
        if not known or self.scoring.source.kind == "exact":
            return 1.0
        return recall(self.scoring.source, self.scoring.queries(Sequences.from_lists(known)), count)

    def recommend(self, history: Sequence[str], **request: Any) -> Answer:
        """Rank items for a history of item ids, oldest first; keywords are those of ``ListRequest``.

        Raises:
            FilterError: the filter does not fit the catalogue.
            LimitError: a limit does not.
            KeyError: a field does not exist.
        """
        return self.recommend_many([history], ListRequest(**request))[0]

    def recommend_many(
        self, histories: Sequence[Sequence[str]], request: ListRequest, end_stage: EndStage = unmeasured
    ) -> list[Answer]:
        """Rank items for many people with the same request: the answers that ``recommend`` gives each of them.

        Args:
            histories: what each did, item ids, oldest first; unknown ids are left out and reported.
            request: what the lists shall be like.
            end_stage: is told when a stage ends, see ``recsys.ranking.stages``.

        Raises:
            FilterError, LimitError, KeyError: as ``recommend``.
        """
        allowed = self.catalogue.allowed(request.filter)
        split = [self.catalogue.split(history) for history in histories]
        excluded, unknown = self.catalogue.split(request.exclude_ids)
        allowed[excluded] = False
        promoted: dict[int, int] = {}
        for promotion in request.promotions:
            rows, missing = self.catalogue.split([promotion.item_id])
            unknown += missing
            if rows and allowed[rows[0]] and rows[0] not in promoted.values():
                promoted[promotion.slot] = rows[0]
        end_stage(RULES)
        histories_ready = self._prepared([known for known, _ in split], end_stage, _asked(request), allowed)
        return [
            self._list(prepared, known, [*missing, *unknown], allowed.copy(), promoted, request, end_stage)
            for prepared, (known, missing) in zip(histories_ready, split, strict=True)
        ]

    def rank(
        self,
        history: Sequence[str],
        item_ids: Sequence[str],
        *,
        explain: bool = False,
        fields: Sequence[str] = (TITLE,),
        end_stage: EndStage = unmeasured,
    ) -> Answer:
        """Order given items for a history, by the scores that ``recommend`` gives; ties go to the catalogue's order.

        Every item that the catalogue holds is in the answer once, also when it was seen or is not available.

        Raises:
            KeyError: a field does not exist.
        """
        known, missing = self.catalogue.split(history)
        wanted, unknown = self.catalogue.split(item_ids)
        (prepared,) = self._prepared([known], end_stage)
        rows = np.unique(np.array(wanted, dtype=np.int64))
        scores = self._scores(prepared, rows)
        order = np.lexsort((rows, -scores))
        rows, scores = rows[order], scores[order]
        end_stage(RANKER)
        request = ListRequest(explain=explain, fields=fields)
        items = self._recommendations(prepared, known, rows, scores, set(), request, end_stage)
        return self._answer(items, None if prepared else POPULAR, [*missing, *unknown])

    def similar(
        self,
        item_id: str,
        *,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        fields: Sequence[str] = (TITLE,),
        end_stage: EndStage = unmeasured,
    ) -> Answer:
        """Rank items by the cosine between their vectors and an item's.

        Raises:
            KeyError: the catalogue does not hold the item, or a field.
        """
        row = self.catalogue.row(item_id)
        allowed = self.catalogue.allowed(filter)
        allowed[row] = False
        end_stage(RULES)
        cosines = np.where(allowed, self._item_vectors @ self._item_vectors[row], -np.inf)
        k = min(k, int(np.count_nonzero(allowed)))
        least = np.partition(cosines, len(cosines) - k)[len(cosines) - k] if k else np.inf
        rows = np.flatnonzero(cosines >= least)  # ties with the last one, too
        cosines = cosines[rows]
        order = np.lexsort((rows, -cosines))[:k]
        rows, cosines = rows[order], cosines[order]
        end_stage(SEARCH)
        return self._answer(
            self._recommendations(None, [], rows, cosines, set(), ListRequest(fields=fields), end_stage), None, []
        )

    def _prepared(
        self, histories: list[list[int]], end_stage: EndStage, count: int = 0, allowed: NDArray[np.bool_] | None = None
    ) -> list[PreparedHistory | None]:
        """Prepare all histories together, for candidates where ``allowed`` says which; None for unknown people."""
        usable = [history for history in histories if history]
        prepared = iter(
            self.scoring.prepared(Sequences.from_lists(usable), count, allowed, end_stage) if usable else []
        )
        return [next(prepared) if history else None for history in histories]

    def _list(
        self,
        prepared: PreparedHistory | None,
        known: list[int],
        missing: list[str],
        allowed: NDArray[np.bool_],
        promoted: dict[int, int],
        request: ListRequest,
        end_stage: EndStage,
    ) -> Answer:
        if request.exclude_seen:
            allowed[known] = False
        first = np.array(sorted(promoted.values()), dtype=np.int64)
        allowed[first] = False
        limits = Limits(self.catalogue, request.limits)
        limits.read(first)
        for row in first.tolist():
            limits.take(row, always=True)
        if limits.most:
            allowed &= ~limits.full()
        filling: set[int] = set()

        def propose(open_: NDArray[np.bool_], count: int) -> tuple[Rows, NDArray[np.float32]]:
            end_stage(RULES)
            return self._ranked(prepared, open_, count, _asked(request), filling, end_stage)

        others, _ = choose(propose, allowed, request.k - len(promoted), limits, request.diversity, self._item_vectors)
        rows = np.array(place_promoted(others.tolist(), promoted), dtype=np.int64)
        fallback = None if prepared else POPULAR
        if not filling.isdisjoint(others.tolist()):
            fallback = FILLED
        end_stage(RULES)
        scores = self._scores(prepared, rows)
        end_stage(RANKER)
        return self._answer(
            self._recommendations(prepared, known, rows, scores, set(first.tolist()), request, end_stage),
            fallback,
            missing,
        )

    def _ranked(
        self,
        prepared: PreparedHistory | None,
        allowed: NDArray[np.bool_],
        needed: int,
        count: int,
        filling: set[int],
        end_stage: EndStage,
    ) -> tuple[Rows, NDArray[np.float32]]:
        """Return candidates, best first, at least ``needed`` if so many are allowed; note what only fills the list."""
        if prepared is None:
            rows = self.scoring.popular(count, allowed)
            end_stage(SEARCH)
            return rows, self._scores(None, rows)
        rows = prepared.candidates(count, allowed)
        end_stage(SEARCH)
        fill: Rows = np.empty(0, dtype=np.int64)
        if len(rows) < needed:
            others = allowed.copy()
            others[rows] = False
            fill = self.scoring.popular(needed - len(rows), others)
            filling.update(fill.tolist())
        scores, fill_scores = self._scores(prepared, rows), self._scores(prepared, fill)
        rows, scores = np.concatenate([rows, fill]), np.concatenate([scores, fill_scores])
        # what fills has nothing but its popularity: behind equals, the most popular first
        place = np.concatenate([np.full(len(rows) - len(fill), -1), np.arange(len(fill))])
        order = np.lexsort((rows, place, -scores))
        end_stage(RANKER)
        return rows[order], scores[order]

    def _scores(self, prepared: PreparedHistory | None, rows: Rows) -> NDArray[np.float32]:
        if prepared is None:
            return self._system.popularity.counts[rows]
        return total(prepared.parts(rows), rows)

    def _recommendations(
        self,
        prepared: PreparedHistory | None,
        known: list[int],
        rows: Rows,
        scores: NDArray[np.float32],
        promoted: set[int],
        request: ListRequest,
        end_stage: EndStage,
    ) -> list[Recommendation]:
        records = self.catalogue.records(rows, request.fields)
        end_stage(FIELDS)
        why: list[tuple[tuple[str, ...], Explanation | None]] = [((), None)] * len(rows)
        if request.explain:
            why = self._explain(prepared, np.array(known, dtype=np.int32), rows, scores)
            end_stage(EXPLAIN)
        return [
            Recommendation(self.catalogue.ids[row], float(score), said, record, row in promoted, parts)
            for row, score, record, (said, parts) in zip(rows.tolist(), scores, records, why, strict=True)
        ]

    def _explain(
        self, prepared: PreparedHistory | None, history: NDArray[np.int32], rows: Rows, scores: NDArray[np.float32]
    ) -> list[tuple[tuple[str, ...], Explanation | None]]:
        ids, titles = self.catalogue.ids, self.catalogue.titles
        past = history[:0]
        shared = [{POPULARITY: Shares(float(score), np.zeros(0))} for score in scores]
        if prepared is not None:
            past, shared = attribute(self.scoring, prepared, history, rows, prepared.parts(rows))
        found: list[tuple[tuple[str, ...], Explanation | None]] = []
        for row, shares in zip(rows.tolist(), shared, strict=True):
            carried = np.sum([one.history for one in shares.values()], axis=0) if len(past) else np.zeros(0)
            words = self._words.between(row, dict(zip(past.tolist(), carried.tolist(), strict=True)))
            found.append((reasons(shares, past, titles), explanation(shares, past, ids, titles, words)))
        return found

    def _answer(self, items: list[Recommendation], fallback: str | None, missing: list[str]) -> Answer:
        return Answer(items, self.generation_id, self.adapter_id, fallback, missing)


def _asked(request: ListRequest) -> int:
    """Return how many candidates each source is asked for."""
    return max(CANDIDATES, 2 * request.k)


def _check_index(system: System, source: VectorSource, generation_id: str) -> None:
    """Compare the index with the system's own vectors: equal dimensions do not make it this system's.

    Raises:
        ArtifactError: it is another's.
    """
    found = source.vectors
    same = found.shape == (len(system.content.vectors), sum(system.dense_widths().values()))
    for start in range(0, len(found) if same else 0, CHECKED_ITEMS):
        rows = slice(start, start + CHECKED_ITEMS)
        made = np.concatenate(list(system.dense_vectors(rows).values()), axis=1)
        same = same and np.allclose(made, found[rows], rtol=1e-3, atol=1e-3)
    if not same:
        raise ArtifactError(
            f"The index of generation {generation_id} was not made by its adapter and towers: their vectors differ. "
            "Train and publish again, or roll back."
        )
