"""A user's own ranking: the blend's candidates, their order, and what fills the list where they are too few.

The fallback chain: who has a usable history is answered by the blend (``fallback`` None); where its candidates do not
fill the list, the most popular of the other allowed items do (``filled``); who has none is offered what people alike
choose (``segment``), and of whom nothing is known at all, everybody's favourites (``popular``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.exploration import FITS, bonus, places
from recsys.ranking.scoring import PreparedHistory, Rows, Scoring, total
from recsys.ranking.stages import RANKER, SEARCH, EndStage, unmeasured
from recsys.ranking.system import AGAIN, POPULARITY
from recsys.selection.catalogue import Catalogue
from recsys.selection.dials import Units
from recsys.selection.selection import Scores
from recsys.serving.adjustments import NOTHING, Adjustments
from recsys.serving.again import due
from recsys.serving.alike import Alike
from recsys.serving.answers import POPULAR, SEGMENTED
from recsys.serving.attribution import attribute
from recsys.serving.explanation import EXPLORATION, NEW, Explanation, Reason, Shares, explanation, reasons
from recsys.serving.history import KnownHistory
from recsys.serving.words import SharedWords


@dataclass(frozen=True, eq=False)
class UserRanking:
    """Proposes what suits one user; see ``recsys.serving.listing.Proposer``.

    Attributes:
        catalogue: what is ranked.
        scoring: of the generation that answers.
        words: what texts have in common.
        count: how many candidates each source is asked for.
        history: what the user did, as far as it is known; None: nobody asks.
        prepared: the history, ready to score items; None where nothing usable is known.
        now: Unix seconds, when it is asked for; None: with the newest event.
        adjusted: what else moves items.
        end_stage: is told when a stage ends.
        alike: what people alike choose; None: nothing is known of them, or the history says enough.
    """

    catalogue: Catalogue
    scoring: Scoring
    words: SharedWords
    count: int
    history: KnownHistory | None = None
    prepared: PreparedHistory | None = None
    now: int | None = None
    adjusted: Adjustments = NOTHING
    end_stage: EndStage = unmeasured
    alike: Alike | None = None
    _filling: set[int] = field(default_factory=set, init=False)  # rows that have nothing but their popularity

    @property
    def fallback(self) -> str | None:
        """The link of the chain that a list has which nothing had to fill."""
        return None if self.prepared else SEGMENTED if self.alike and self.alike.ratios else POPULAR

    @property
    def remarks(self) -> dict[str, Any]:
        """What of attributes and context had no part in the scores, as an answer says it."""
        if self.alike is None:
            return {}
        return {"unused_attributes": self.alike.unknown, "unused_context": dict(self.alike.unused)}

    def propose(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        """Return candidates, best first, at least ``needed`` if so many are allowed; note what only fills the list."""
        if self.prepared is None:
            rows = self._favourites(allowed)
            self.end_stage(SEARCH)
            return rows, self.scores(rows)
        rows = self.prepared.candidates(self.count, allowed, self._raised)
        if self.adjusted.novelty is not None and self.adjusted.strength:
            rows = np.union1d(rows, self.prepared.near_to_taste(self.count, allowed & (self.adjusted.novelty > 0)))
        self.end_stage(SEARCH)
        fill: Rows = np.empty(0, dtype=np.int64)
        if len(rows) < needed:
            others = allowed.copy()
            others[rows] = False
            fill = self.scoring.popular(needed - len(rows), others, self._raised)
            self._filling.update(fill.tolist())
        rows = np.concatenate([rows, fill])
        scores = self.scores(rows)
        # what fills has nothing but its popularity: behind equals, the most popular first
        place = np.concatenate([np.full(len(rows) - len(fill), -1), np.arange(len(fill))])
        order = np.lexsort((rows, place, -scores))
        self.end_stage(RANKER)
        return rows[order], scores[order]

    def scores(self, rows: Rows) -> Scores:
        """Return the scores of some rows, (rows,): what suits the user, and what dials and novelty add.

        Of a user of whom nothing is known, how popular the rows are stands for what suits.
        """
        own = total(self._parts(rows), rows)
        own = own if self._raised is None else own + self._raised[rows]
        explored = self._explored(rows)
        return own if explored is None else own + explored

    def _parts(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return what each component adds to the scores of some rows, (rows,) by name."""
        if self.prepared is not None:
            return self.prepared.parts(rows) | (self.alike.parts(rows) if self.alike else {})
        if self.fallback == SEGMENTED and self.alike is not None:
            return self.alike.alone(rows)
        return {POPULARITY: self.scoring.system.popularity.counts[rows]}

    def _favourites(self, allowed: NDArray[np.bool_]) -> Rows:
        """Return allowed rows, as many as each source is asked for, of people alike or of everybody, best first."""
        if self.fallback == POPULAR:
            return self.scoring.popular(self.count, allowed, self._raised)
        rows = np.flatnonzero(allowed)
        return rows[np.lexsort((rows, -self.scores(rows)))[: self.count]]

    def reserved(self, allowed: NDArray[np.bool_], promoted: Mapping[int, int], k: int) -> dict[int, int]:
        """Return the new items that get the places kept for such, by their slots on the first page.

        They suit the user, were not seen, and are not among the ``k`` best anyway; the best of them stand first.

        Args:
            allowed: (items,) bool, what may be offered to everybody.
            promoted: rows by slot, which go before.
            k: items of a page.
        """
        novelty, slots = self.adjusted.novelty, self.adjusted.slots
        if self.prepared is None or self.history is None or novelty is None or not slots:
            return {}
        offered = allowed.copy()
        offered[[*self.history.rows, *promoted.values()]] = False
        rows = np.sort(self.prepared.near_to_taste(self.count, offered & (novelty > 0)))
        fit = self.prepared.fit(rows)
        rows, fit = rows[fit >= FITS], fit[fit >= FITS]
        if not len(rows):
            return {}
        best, _ = self.propose(offered, k)
        left = ~np.isin(rows, best[:k])
        rows, fit = rows[left], fit[left]
        free = [slot for slot in places(slots, k) if slot not in promoted]
        return dict(zip(free, rows[np.lexsort((rows, -fit * novelty[rows]))].tolist(), strict=False))

    def fills(self, rows: Rows) -> bool:
        """Tell whether some rows have nothing but their popularity."""
        return not self._filling.isdisjoint(rows.tolist())

    def explained(self, rows: Rows, scores: Scores) -> list[Explanation]:
        """Return the parts of some rows' scores, by component and item of the history."""
        ids, titles = self.catalogue.ids, self.catalogue.titles
        past = np.empty(0, dtype=np.int32)
        parts, labels = self._parts(rows), self.alike.labels if self.alike else {}
        shared = [
            {name: Shares(float(values[place]), np.zeros(0)) for name, values in parts.items()}
            for place in range(len(rows))
        ]
        if self.prepared is not None and self.history is not None:
            past, shared = attribute(self.scoring, self.prepared, self.history.taught, rows, parts)
        again: dict[int, Reason] = {}
        if AGAIN in self.scoring.weights and self.history is not None:
            taken = due(self.scoring.system.again, self.catalogue, self.history, self.now)
            again = dict(zip(taken.rows.tolist(), taken.reasons, strict=True))
        added, near = self._added(rows), self._near(rows, past)
        found: list[Explanation] = []
        for row, shares in zip(rows.tolist(), shared, strict=True):
            carried = np.sum([one.history for one in shares.values()], axis=0) if len(past) else np.zeros(0)
            words = self.words.between(row, dict(zip(past.tolist(), carried.tolist(), strict=True)))
            why = reasons(shares, past, ids, titles, labels, again.get(row))
            shares |= {name: Shares(float(part), np.zeros(len(past))) for name, part in added[row].items() if part}
            if self.adjusted.dials is not None:
                why += [Reason(code, what=what) for code, what in self.adjusted.dials.reasons(row)]
            if row in near:
                why.append(Reason(NEW, ids[near[row]], titles[near[row]]))
            found.append(explanation(shares, past, ids, titles, words, why))
        return found

    @cached_property
    def _unit(self) -> float:
        """What dials are measured in: about a standard deviation of the scores over the catalogue."""
        if self.prepared is not None:
            return self.scoring.unit
        if self.fallback == POPULAR:
            return self.scoring.unit_of_counts
        everything = np.arange(self.scoring.trained)
        return float(total(self._parts(everything), everything).std()) or 1.0

    @cached_property
    def _raised(self) -> Units | None:
        """What dials add to the scores, (items,)."""
        return None if self.adjusted.dials is None else self.adjusted.dials.total * np.float32(self._unit)

    def _explored(self, rows: Rows) -> Scores | None:
        """Return what is added to the scores of new items, (rows,), or None."""
        if self.prepared is None or self.adjusted.novelty is None or not self.adjusted.strength:
            return None
        return bonus(self.adjusted.strength * self.scoring.unit, self.adjusted.novelty[rows], self.prepared.fit(rows))

    def _added(self, rows: Rows) -> dict[int, dict[str, float]]:
        """Return what is added to each row's score beside what suits, which no item of the history accounts for."""
        parts: dict[str, Scores] = {}
        if self.adjusted.dials is not None:
            parts = {name: units[rows] * np.float32(self._unit) for name, units in self.adjusted.dials.parts.items()}
        explored = self._explored(rows)
        if explored is not None:
            parts[EXPLORATION] = explored
        return {row: {name: values[place] for name, values in parts.items()} for place, row in enumerate(rows.tolist())}

    def _near(self, rows: Rows, past: NDArray[np.int32]) -> dict[int, int]:
        """Return the item of the history that is most alike in text to each row that is new and suits the user."""
        if self.prepared is None or self.history is None or self.adjusted.novelty is None:
            return {}
        rows = rows[self.adjusted.novelty[rows] > 0]
        rows = rows[self.prepared.fit(rows) >= FITS]
        liked = past[~np.isin(past, self.history.disliked)]
        if not len(rows) or not len(liked):
            return {}
        vectors = self.scoring.system.content.vectors
        nearest = liked[np.argmax(vectors[rows] @ vectors[liked].T, axis=1)]
        return dict(zip(rows.tolist(), nearest.tolist(), strict=True))
