"""One list on its way: candidates, their order, what fills the list where they are too few, and why each item is there.

The fallback chain: who has a usable history is answered by the blend (``fallback`` None); where its candidates do not
fill the list, the most popular of the other allowed items do (``filled``); of whom nothing is known, everybody's
favourites are offered (``popular``).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.scoring import PreparedHistory, Rows, Scoring, total
from recsys.ranking.stages import EXPLAIN, FIELDS, RANKER, RULES, SEARCH, EndStage, unmeasured
from recsys.ranking.system import AGAIN, POPULARITY
from recsys.selection.catalogue import Catalogue
from recsys.selection.selection import Limits, Scores, choose, place_promoted
from recsys.serving.again import due
from recsys.serving.answers import FILLED, POPULAR, ListRequest, Recommendation
from recsys.serving.attribution import attribute
from recsys.serving.explanation import Explanation, Reason, Shares, explanation, reasons, sentences
from recsys.serving.history import KnownHistory
from recsys.serving.words import SharedWords

EXPLAINED_AT_ONCE = 16  # items; explaining takes long, and whoever is told of the stages may let others go first
CANDIDATES = 300  # from each source; 200 hold the 50 best of a scan of everything, of 1,682 and of 100,000 items


def candidates_of(request: ListRequest) -> int:
    """Return how many candidates each source is asked for: as many for every page, which are parts of one list then."""
    return max(CANDIDATES, 2 * request.k)


@dataclass(eq=False)
class Listing:
    """One user's list.

    Attributes:
        catalogue: what may be offered, and what is shown of it.
        scoring: of the generation that answers.
        words: what texts have in common.
        request: what the list shall be like.
        history: what the user did, as far as it is known.
        prepared: the history, ready to score items; None where nothing usable is known.
        end_stage: is told when a stage ends.
    """

    catalogue: Catalogue
    scoring: Scoring
    words: SharedWords
    request: ListRequest
    history: KnownHistory | None = None
    prepared: PreparedHistory | None = None
    end_stage: EndStage = unmeasured
    _filling: set[int] = field(default_factory=set, init=False)  # rows that have nothing but their popularity

    def chosen(self, allowed: NDArray[np.bool_], promoted: Mapping[int, int]) -> tuple[Rows, str | None]:
        """Return the rows of the page, in order, and which link of the fallback chain gave them.

        Args:
            allowed: (items,) bool, what may be offered to everybody; is changed.
            promoted: rows by slot, from 1; all of them are allowed.
        """
        if self.history is not None:
            repeats = self.scoring.system.repeats
            allowed[self.history.left_out(self.request.exclude_seen, repeats, self.request.now)] = False
        first = np.array(sorted(promoted.values()), dtype=np.int64)
        allowed[first] = False
        limits = Limits(self.catalogue, self.request.limits)
        limits.read(first)
        for row in first.tolist():
            limits.take(row, always=True)
        if limits.most:
            allowed &= ~limits.full()
        start = self.request.offset
        wanted = self.request.depth - len(promoted)
        others, _ = choose(
            self._proposed,
            allowed,
            wanted,
            limits,
            self.request.diversity,
            self.scoring.system.item_vectors,
            partial(self.end_stage, RULES),
            before=start - sum(slot <= start for slot in promoted),
        )
        rows = np.array(place_promoted(others.tolist(), promoted)[start:], dtype=np.int64)
        self.end_stage(RULES)
        if not self._filling.isdisjoint(rows.tolist()):
            return rows, FILLED
        return rows, self.fallback

    @property
    def fallback(self) -> str | None:
        """The link of the chain that a list has which nothing had to fill."""
        return None if self.prepared else POPULAR

    def scores(self, rows: Rows) -> Scores:
        """Return the scores of some rows, (rows,); of a user of whom nothing is known, how popular they are."""
        if self.prepared is None:
            return self.scoring.system.popularity.counts[rows]
        return total(self.prepared.parts(rows), rows)

    def shown(self, rows: Rows, scores: Scores, promoted: Collection[int] = ()) -> list[Recommendation]:
        """Return some rows as an answer shows them: with the fields and the explanations that were asked for."""
        records = self.catalogue.records(rows, self.request.fields)
        self.end_stage(FIELDS)
        why: list[tuple[tuple[str, ...], Explanation | None]] = [((), None)] * len(rows)
        if self.request.explain:
            why = self._explained(rows, scores)
            self.end_stage(EXPLAIN)
        return [
            Recommendation(self.catalogue.ids[row], float(score), said, record, row in promoted, parts)
            for row, score, record, (said, parts) in zip(rows.tolist(), scores, records, why, strict=True)
        ]

    def _proposed(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        """Return candidates, best first, at least ``needed`` if so many are allowed; note what only fills the list."""
        self.end_stage(RULES)
        count = candidates_of(self.request)
        if self.prepared is None:
            rows = self.scoring.popular(count, allowed)
            self.end_stage(SEARCH)
            return rows, self.scores(rows)
        rows = self.prepared.candidates(count, allowed)
        self.end_stage(SEARCH)
        fill: Rows = np.empty(0, dtype=np.int64)
        if len(rows) < needed:
            others = allowed.copy()
            others[rows] = False
            fill = self.scoring.popular(needed - len(rows), others)
            self._filling.update(fill.tolist())
        rows = np.concatenate([rows, fill])
        scores = self.scores(rows)
        # what fills has nothing but its popularity: behind equals, the most popular first
        place = np.concatenate([np.full(len(rows) - len(fill), -1), np.arange(len(fill))])
        order = np.lexsort((rows, place, -scores))
        self.end_stage(RANKER)
        return rows[order], scores[order]

    def _explained(self, rows: Rows, scores: Scores) -> list[tuple[tuple[str, ...], Explanation | None]]:
        found: list[tuple[tuple[str, ...], Explanation | None]] = []
        for start in range(0, len(rows), EXPLAINED_AT_ONCE):
            some = slice(start, start + EXPLAINED_AT_ONCE)
            found += self._explained_at_once(rows[some], scores[some])
            self.end_stage(EXPLAIN)
        return found

    def _explained_at_once(self, rows: Rows, scores: Scores) -> list[tuple[tuple[str, ...], Explanation | None]]:
        ids, titles = self.catalogue.ids, self.catalogue.titles
        past = np.empty(0, dtype=np.int32)
        shared = [{POPULARITY: Shares(float(score), np.zeros(0))} for score in scores]
        if self.prepared is not None and self.history is not None:
            history = self.history.taught
            past, shared = attribute(self.scoring, self.prepared, history, rows, self.prepared.parts(rows))
        again: dict[int, Reason] = {}
        if AGAIN in self.scoring.weights and self.history is not None:
            taken = due(self.scoring.system, self.catalogue, self.history, self.request.now)
            again = dict(zip(taken.rows.tolist(), taken.reasons, strict=True))
        found: list[tuple[tuple[str, ...], Explanation | None]] = []
        for row, shares in zip(rows.tolist(), shared, strict=True):
            carried = np.sum([one.history for one in shares.values()], axis=0) if len(past) else np.zeros(0)
            words = self.words.between(row, dict(zip(past.tolist(), carried.tolist(), strict=True)))
            why = reasons(shares, past, ids, titles, again.get(row))
            found.append((sentences(why), explanation(shares, past, ids, titles, words, why)))
        return found
