"""From scored candidates to the items of a list: diversity, limits per field value, promotions in fixed slots."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
from numpy.typing import NDArray

from recsys.errors import RequestError
from recsys.selection.catalogue import Catalogue
from recsys.selection.diversity import Relevance, diversified

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
LOOKED_AT_ONCE = 32  # items
Propose = Callable[[NDArray[np.bool_], int], tuple[Rows, Scores]]


@dataclass(frozen=True)
class Promotion:
    """An item that shall stand at a place of the list; ``slot`` counts from 1."""

    item_id: str
    slot: int


class LimitError(RequestError):
    """A limit names a field that does not exist or whose values cannot be counted."""


class Limits:
    """Counts the values of what is chosen; each value of a limited field may occur so many times in a list.

    Every member of a list counts; an item whose field is null is not limited by it.
    """

    def __init__(self, catalogue: Catalogue, most: Mapping[str, int]) -> None:
        self.most = most
        self._catalogue = catalogue
        self._counts: dict[str, Counter[Hashable]] = {field: Counter() for field in most}
        self._values: dict[int, dict[str, tuple[Hashable, ...]]] = {}

    def read(self, rows: Rows) -> None:
        """Look up the values of the rows that ``take`` shall be asked about.

        Raises:
            LimitError: see the class.
        """
        for field in self.most:
            try:
                for row, values in zip(rows.tolist(), self._catalogue.values(field, rows), strict=True):
                    hash(values)
                    self._values.setdefault(row, {})[field] = values
            except KeyError as error:
                raise LimitError(error.args[0]) from None
            except TypeError:
                raise LimitError(f"The values of {field!r} cannot be counted.") from None

    def take(self, row: int, always: bool = False) -> bool:
        """Count an item as chosen if it fits into what is left, or ``always``; tell whether it was."""
        fields = self._values.get(row, {})
        fits = all(self._counts[field][value] < self.most[field] for field in fields for value in fields[field])
        if not (fits or always):
            return False
        for field, values in fields.items():
            self._counts[field].update(values)
        return True

    def take_at(self, rows: Rows, place: int) -> bool:
        """Do as ``take`` with the row at a place."""
        return self.take(int(rows[place]))

    def full(self) -> NDArray[np.bool_]:
        """Return (items,) bool: which items no longer fit."""
        found = np.zeros(len(self._catalogue), dtype=bool)
        for field, counts in self._counts.items():
            reached = [value for value, count in counts.items() if count >= self.most[field]]
            if reached:
                found |= self._catalogue.holding(field, reached)
        return found


def choose(
    propose: Propose,
    allowed: NDArray[np.bool_],
    k: int,
    limits: Limits,
    diversity: float,
    vectors: NDArray[np.float32],
    pause: Callable[[], object] = lambda: None,
    before: int = 0,
) -> tuple[Rows, Scores]:
    """Choose ``k`` items, fewer only where fewer fit.

    Where limits turn candidates away, new ones are asked for among the items that still fit, until the list is full.

    Args:
        propose: returns allowed candidates and their scores, best first; at least as many as asked for, if there are.
        allowed: (items,) bool; is changed.
        k: how many.
        limits: what is counted already, counts.
        diversity: 0: by score; above, up to 1: by ``recsys.selection.diversity``.
        vectors: (items, dimensions) unit vectors.
        pause: is called after every few items that are looked at, for whoever lets others go first.
        before: how many of the ``k`` stand on earlier pages: the same ones, however many follow them.

    Returns:
        Rows and scores: by score, equal ones as proposed, or in the order in which diversity chose them; those of
        earlier pages first.
    """
    rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    scale: Relevance | None = None
    looked = count(1)

    def takes(found: Rows, place: int) -> bool:
        if next(looked) % LOOKED_AT_ONCE == 0:
            pause()
        return limits.take_at(found, place)

    while len(rows) < k:
        found, values = propose(allowed, k - len(rows))
        if not len(found):
            break
        limits.read(found)
        if diversity > 0:
            scale = scale or Relevance.of(values)
            taken = diversified(
                scale.of_scores(values),
                vectors[found],
                diversity,
                vectors[rows],
                k - len(rows),
                partial(takes, found),
            )
        else:
            taken = []
            for place in range(len(found)):
                if len(rows) + len(taken) == k:
                    break
                if takes(found, place):
                    taken.append(place)
        rows, scores = np.concatenate([rows, found[taken]]), np.concatenate([scores, values[taken]])
        if not limits.most or not taken:
            break
        allowed[rows] = False
        allowed &= ~limits.full()
    if diversity > 0:
        return rows, scores
    # what limits had looked for further away may score higher than what was taken before, and is on a later page
    order = np.concatenate(
        [np.argsort(-scores[:before], kind="stable"), before + np.argsort(-scores[before:], kind="stable")]
    )
    return rows[order], scores[order]


def place_promoted(others: Sequence[int], promoted: Mapping[int, int]) -> list[int]:
    """Return a list with promoted rows at their slots (row by slot, from 1) and the others around them, in order.

    A slot behind the end of a list that is too short becomes its end.
    """
    placed = list(others)
    for slot, row in sorted(promoted.items()):
        placed.insert(slot - 1, row)
    return placed
