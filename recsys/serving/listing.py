"""One list on its way: what is proposed, what the rules leave of it, and how it is shown.

Where the items come from is a proposer's affair: a user's own ranking, or a recipe. All lists share the rest: what may
be offered, what was seen, promotions, limits, diversity, pages, columns and explanations.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.scoring import Rows
from recsys.ranking.stages import EXPLAIN, FIELDS, RULES, EndStage, unmeasured
from recsys.selection.catalogue import Catalogue
from recsys.selection.selection import Limits, Scores, choose, place_promoted
from recsys.serving.answers import FILLED, ListRequest, Recommendation
from recsys.serving.explanation import Explanation, sentences
from recsys.serving.history import KnownHistory

EXPLAINED_AT_ONCE = 16  # items; explaining takes long, and whoever is told of the stages may let others go first
CANDIDATES = 300  # from each source; 200 hold the 50 best of a scan of everything, of 1,682 and of 100,000 items


def candidates_of(request: ListRequest) -> int:
    """Return how many candidates each source is asked for: as many for every page, which are parts of one list then."""
    return max(CANDIDATES, 2 * request.k)


class Proposer(Protocol):
    """Where the items of a list come from, for one user. Its scores depend on nothing but the item.

    Attributes:
        fallback: the link of the fallback chain that answers; None: the proposer itself.
    """

    @property
    def fallback(self) -> str | None: ...

    @property
    def remarks(self) -> dict[str, Any]:
        """What an answer says of attributes and a situation that it has no use for; empty: it asks for none."""
        ...

    def propose(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        """Return allowed items and their scores, best first: at least ``needed``, if it knows so many."""
        ...

    def scores(self, rows: Rows) -> Scores:
        """Return the scores of any items, (rows,), also of those that it would not propose."""
        ...

    def fills(self, rows: Rows) -> bool:
        """Tell whether some of the items that it has proposed only fill the list."""
        ...

    def explained(self, rows: Rows, scores: Scores) -> list[Explanation]:
        """Return why items are there, with parts that add up to their scores."""
        ...


@dataclass(frozen=True, eq=False)
class Listing:
    """One list.

    Attributes:
        catalogue: what may be offered, and what is shown of it.
        proposer: where its items come from.
        request: what the list shall be like.
        vectors: (items, dimensions) unit vectors, for diversity.
        history: what the user did, as far as it is known; None: nobody asks.
        end_stage: is told when a stage ends.
        repeats: whether people come back to their items, so that what was seen is offered unless a request says else.
    """

    catalogue: Catalogue
    proposer: Proposer
    request: ListRequest
    vectors: NDArray[np.float32]
    history: KnownHistory | None = None
    end_stage: EndStage = unmeasured
    repeats: bool = False

    def chosen(self, allowed: NDArray[np.bool_], promoted: Mapping[int, int]) -> tuple[Rows, str | None]:
        """Return the rows of the page, in order, and which link of the fallback chain gave them.

        Args:
            allowed: (items,) bool, what may be offered to everybody; is changed.
            promoted: rows by slot, from 1; all of them are allowed.
        """
        if self.history is not None and self._offers_enough(allowed):
            seen = self.history.left_out(self.request.exclude_seen, self.repeats, self.request.now)
            allowed[seen] = False
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
            self.vectors,
            partial(self.end_stage, RULES),
            before=start - sum(slot <= start for slot in promoted),
        )
        rows = np.array(place_promoted(others.tolist(), promoted)[start:], dtype=np.int64)
        self.end_stage(RULES)
        return rows, FILLED if self.proposer.fills(rows) else self.proposer.fallback

    def shown(
        self, rows: Rows, scores: Scores, promoted: Collection[int] = (), new: Collection[int] = ()
    ) -> list[Recommendation]:
        """Return some rows as an answer shows them: with the fields and the explanations that were asked for."""
        records = self.catalogue.records(rows, self.request.fields)
        self.end_stage(FIELDS)
        why: list[Explanation | None] = [None] * len(rows)
        if self.request.explain:
            why = self._explained(rows, scores)
            self.end_stage(EXPLAIN)
        return [
            Recommendation(
                self.catalogue.ids[row],
                float(score),
                sentences(parts.reasons) if parts else (),
                record,
                row in promoted,
                row in new,
                parts,
            )
            for row, score, record, parts in zip(rows.tolist(), scores, records, why, strict=True)
        ]

    def _offers_enough(self, allowed: NDArray[np.bool_]) -> bool:
        least = self.request.least_offered
        return not least or len(self.proposer.propose(allowed, least)[0]) >= least

    def _proposed(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        self.end_stage(RULES)
        return self.proposer.propose(allowed, needed)

    def _explained(self, rows: Rows, scores: Scores) -> list[Explanation | None]:
        found: list[Explanation | None] = []
        for start in range(0, len(rows), EXPLAINED_AT_ONCE):
            some = slice(start, start + EXPLAINED_AT_ONCE)
            found += self.proposer.explained(rows[some], scores[some])
            self.end_stage(EXPLAIN)
        return found
