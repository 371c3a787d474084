"""What all recipes have in common: what one is, and a proposer of items that have a score each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.scoring import Rows
from recsys.ranking.stages import SEARCH, EndStage, unmeasured
from recsys.selection.selection import Scores
from recsys.serving.explanation import Explanation, Reason, Shares, explanation
from recsys.serving.history import KnownHistory
from recsys.serving.listing import CANDIDATES, Proposer

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True, eq=False)
class Asked:
    """For whom a list is made, and of what.

    Attributes:
        history: what the user did; nothing of an unknown one.
        allowed: (items,) bool, what everybody may be offered; not to be changed.
        now: Unix seconds, when it is asked for; None: with the last event of the history.
        end_stage: is told when a stage ends.
        attributes: what is known of the user beside, by name.
        context: the situation, by name.
    """

    history: KnownHistory
    allowed: NDArray[np.bool_]
    now: int | None = None
    end_stage: EndStage = unmeasured
    attributes: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Heading:
    """What stands above a list.

    Attributes:
        title: in English.
        item_id: of the item that the whole list is about, likewise ``item_title``; None: there is none.
    """

    title: str
    item_id: str | None = None
    item_title: str | None = None


class Recipe(Protocol):
    """How one kind of list is made; its fields are what may be asked of it.

    Attributes:
        name: of the list, as in its route.
        tells_history: whether its explanations name items of the user's history.
        lists_seen: whether it may hold what the user has seen, whatever is asked.
    """

    name: ClassVar[str]
    tells_history: ClassVar[bool] = False
    lists_seen: ClassVar[bool] = False

    @property
    def item_ids(self) -> Sequence[str]:
        """The items that it was asked about; they are not in the list."""
        return ()

    @property
    def asks_attributes(self) -> bool:
        """Whether it asks what is known of the user also beside a long history."""
        return False

    @property
    def is_history(self) -> bool:
        """Whether the list by itself tells what its user did."""
        return False

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """Return what stands above the list of a user with a history."""
        ...

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """Return what proposes the items of one user's list.

        Raises:
            RequestError: this catalogue, or what is known of behaviour, has no such list.
        """
        ...


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """Proposes items that have a score each, whoever asks; see ``recsys.serving.listing.Proposer``.

    Attributes:
        all_scores: (items,) float32.
        proposed: (items,) bool, those that the recipe is about.
        explain: returns why an item is there: parts of its score, the rows behind them, and reasons.
        ids: of all items, likewise ``titles``.
        filling: (items,) bool, those of the proposed that only fill the list; None: none does.
        fallback: see ``Proposer``.
        remarks: likewise; empty: it asks neither for attributes nor for a situation.
        end_stage: is told when a stage ends.
    """

    all_scores: NDArray[np.float32]
    proposed: NDArray[np.bool_]
    explain: Callable[[int], "Why"]
    ids: list[str]
    titles: list[str]
    filling: NDArray[np.bool_] | None = None
    fallback: str | None = None
    remarks: dict[str, Any] = field(default_factory=dict)
    end_stage: EndStage = unmeasured

    def propose(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        """Return the best proposed items; equal ones in the order of the catalogue."""
        rows = np.flatnonzero(allowed & self.proposed)
        count = max(CANDIDATES, needed)
        scores = self.all_scores[rows]
        if len(rows) > count:
            least = np.partition(scores, len(rows) - count)[len(rows) - count]
            rows, scores = rows[scores >= least], scores[scores >= least]  # ties with the last one, too
        order = np.lexsort((rows, -scores))[:count]
        self.end_stage(SEARCH)
        return rows[order], scores[order]

    def scores(self, rows: Rows) -> Scores:
        """Return the scores of any items."""
        return self.all_scores[rows]

    def fills(self, rows: Rows) -> bool:
        """Tell whether some items only fill the list."""
        return self.filling is not None and bool((self.filling & self.proposed)[rows].any())

    def explained(self, rows: Rows, scores: Scores) -> list[Explanation]:
        """Return why items are there."""
        found = []
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            why = self.explain(row)
            shares = why.shares or {why.code: Shares(score, np.zeros(len(why.rows)))}
            found.append(explanation(shares, why.rows, self.ids, self.titles, [], why.reasons))
        return found


@dataclass(frozen=True, eq=False)
class Why:
    """Why a recipe lists an item.

    Attributes:
        code: of the score where it is one number.
        reasons: what is said of it.
        shares: of the score by component, where it has several.
        rows: of the items that ``shares`` are shared out over.
    """

    code: str
    reasons: list[Reason]
    shares: dict[str, Shares] | None = None
    rows: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))


def over_catalogue(values: NDArray, items: int, fill: float = 0.0) -> NDArray:
    """Return numbers of a snapshot's items for a catalogue that live items have made longer."""
    if len(values) == items:
        return values
    longer = np.full(items, fill, dtype=values.dtype)
    longer[: len(values)] = values
    return longer
