"""Dials of a shop over people's rankings: boosts and burials by condition, and a number of the items as an objective.

What they add to an item's score is the same for everybody, and is measured in units, of which one is about a standard
deviation of a user's scores over the catalogue: see ``Blend.unit``. It is bounded: no dial outweighs every taste.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.errors import RequestError
from recsys.selection.catalogue import Catalogue
from recsys.selection.filter_words import words_of
from recsys.selection.filters import Condition, FilterError

BOOSTS, OBJECTIVE = "boosts", "objective"  # the parts of a score
BOOSTED, BURIED, FAVOURED = "boosted", "buried", "favoured"  # codes of reasons
MOST = 3.0  # units that the boosts of one item add up to, up or down

Units = NDArray[np.float32]


class ObjectiveError(RequestError):
    """An objective names a field that does not exist or holds no numbers."""


@dataclass(frozen=True)
class Boost:
    """Raises the items that match a condition, or with a negative strength buries them.

    Attributes:
        filter: a structured condition, see ``recsys.selection.filters``.
        strength: units, from -3 to 3.
    """

    filter: Condition
    strength: float


@dataclass(frozen=True)
class Objective:
    """A number of the items, such as their margin, that counts beside what suits the user.

    Attributes:
        field: the column.
        weight: units for a robust standard deviation above the median, from 0 to 1.
    """

    field: str
    weight: float


@dataclass(frozen=True, eq=False)
class Dials:
    """What dials add to the items of a catalogue.

    Attributes:
        parts: (items,) units by name, of the dials that are not at 0.
        boosts: those that are not at 0, each with the items that match it, (items,) bool.
        field: of the objective.
        level: (items,) their sum where it was levelled, without what rounding leaves; None: it was not.
    """

    parts: dict[str, Units]
    boosts: Sequence[tuple[Boost, NDArray[np.bool_]]] = ()
    field: str | None = None
    level: Units | None = None

    @classmethod
    def of(cls, catalogue: Catalogue, boosts: Sequence[Boost], objective: Objective | None) -> "Dials | None":
        """Return what some dials add; None where that is nothing to any item.

        Raises:
            FilterError: the filter of a boost does not fit the catalogue.
            ObjectiveError: the objective does not.
        """
        matched = []
        for number, boost in enumerate(boosts):
            try:
                matched.append((boost, catalogue.matching(boost.filter)))
            except FilterError as error:
                error.option = (BOOSTS, number, "filter")
                raise
        parts: dict[str, Units] = {}
        if any(boost.strength and found.any() for boost, found in matched):
            summed = np.zeros(len(catalogue), dtype=np.float32)
            for boost, found in matched:
                summed[found] += np.float32(boost.strength)
            parts[BOOSTS] = np.clip(summed, -MOST, MOST)
        if objective is not None:
            try:
                standardised = catalogue.standardised(objective.field)
            except (KeyError, TypeError) as error:
                raise ObjectiveError(error.args[0]) from None
            if objective.weight:
                parts[OBJECTIVE] = np.float32(objective.weight) * standardised
        field = objective.field if objective is not None else None
        return cls(parts, [pair for pair in matched if pair[0].strength], field) if parts else None

    @property
    def total(self) -> Units:
        """What all dials together add to each item, (items,) units."""
        if self.level is not None:
            return self.level
        return np.sum(list(self.parts.values()), axis=0, dtype=np.float32)

    def levelled(self, offered: NDArray[np.bool_], least: int) -> "Dials":
        """Return dials that let no few of some items stand out: each sum is lowered to one that ``least`` of them have.

        Whoever chooses conditions that only one item meets would learn from its absence what a user has seen. The last
        few are raised to those before them. The difference is the boosts', where there are any.

        Args:
            offered: (items,) bool.
            least: how many items, at least, have the same sum; all of them where fewer are offered.
        """
        level = self.total.copy()
        level[offered] = levels(level[offered], least)
        name = BOOSTS if BOOSTS in self.parts else OBJECTIVE
        return replace(self, parts=self.parts | {name: self.parts[name] + level - self.total}, level=level)

    def reasons(self, row: int) -> list[tuple[str, str]]:
        """Return why the dials raise or bury an item: codes of reasons, each with what it speaks of."""
        found = []
        boosted = float(self.parts[BOOSTS][row]) if BOOSTS in self.parts else 0.0
        for boost, matches in self.boosts:
            if matches[row] and boost.strength * boosted > 0:
                found.append((BOOSTED if boost.strength > 0 else BURIED, words_of(boost.filter)))
        if self.field is not None and OBJECTIVE in self.parts and self.parts[OBJECTIVE][row] > 0:
            found.append((FAVOURED, self.field))
        return found


def levels(values: Units, least: int) -> Units:
    """Return values, each lowered to the next one that at least ``least`` of them share then; the last few are raised.

    The order stays what it is, but for new ties.
    """
    found, place, counts = np.unique(-values, return_inverse=True, return_counts=True)
    level = np.empty_like(found)
    start = together = 0
    for end, count in enumerate(counts.tolist(), start=1):
        together += count
        if together >= least or end == len(found):
            # what is left over at the end joins those before it
            level[start:end] = found[end - 1] if together >= least or start == 0 else level[start - 1]
            start, together = end, 0
    return np.asarray(-level[place], dtype=np.float32)
