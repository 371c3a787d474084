"""What is counted over all events while they pass in segments: users, repeats, what types and values there are.

Of a user 64 bits of a hash are counted in the place of the id: of ten million users, one is missed in one of a million
tables. Of a user and item, or a user and type, there are 52 bits: of ten million of them, one in one of a hundred.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.segments.counted import NAMES, PAIRS, TYPE_BITS, TYPED, USERS, Counted, Written
from recsys.data.segments.keys import Keys, Numbers, changes
from recsys.data.segments.room import Room
from recsys.data.segments.totals import Counts, Totals

_MOST_NAMED = (1 << TYPE_BITS) - 1  # types that are told apart
_OTHER = 0  # the type of those that have none, or one too many
TALLIED = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE, columns.TIMESTAMP_KNOWN, columns.EVENT_ID)


class Tally:
    """Counts of events, taken in any order; the fewer numbers, the more often neighbours have the same user.

    Args:
        room: for what does not fit into memory.
        types: that have been told apart before.
    """

    def __init__(self, room: Room, types: Sequence[str] = ()) -> None:
        self._keys = {name: Keys(room, f"tally-{name}") for name in (USERS, TYPED, PAIRS, NAMES)}
        self._types = list(types)
        self._rows = np.zeros(1 << TYPE_BITS, dtype=np.int64)
        self.times_known = True

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are told apart; the number of each in keys is its place, from 1."""
        return tuple(self._types)

    def add(self, events: pl.DataFrame) -> None:
        """Count some events, each of which comes once."""
        if events.is_empty():
            return
        if columns.TIMESTAMP_KNOWN in events.columns:
            self.times_known &= bool(events[columns.TIMESTAMP_KNOWN].fill_null(True).all())
        types = self._count(events)
        user, item = events[columns.USER_ID].hash().to_numpy(), events[columns.ITEM_ID].hash(1).to_numpy()
        another = changes(user)
        self._keys[USERS].add(user[another])
        another |= changes(types)
        self._keys[TYPED].add(_typed(user[another], types[another]))
        self._keys[PAIRS].add(_typed(user ^ item, types))
        if columns.EVENT_ID in events.columns:
            self._keys[NAMES].add(events[columns.EVENT_ID].drop_nulls().hash().to_numpy())

    def leave(self, rows: Mapping[str | None, int]) -> None:
        """Count rows off, by type: they stood in segments that are made anew, and were taken again."""
        for name, number in rows.items():
            self._rows[self._types.index(name) + 1 if name in self._types else _OTHER] -= number

    def _count(self, events: pl.DataFrame) -> NDArray[np.uint16]:
        """Count rows by type; return the number of each event's type."""
        numbers = np.full(events.height, _OTHER, dtype=np.uint16)
        if columns.EVENT_TYPE in events.columns:
            given = events[columns.EVENT_TYPE]
            found = self._numbered(given)
            if found.null_count() > given.null_count() and len(self._types) < _MOST_NAMED:
                new = given.filter(found.is_null()).drop_nulls().unique(maintain_order=True)
                self._types += new.head(_MOST_NAMED - len(self._types)).to_list()
                found = self._numbered(given)
            numbers = found.fill_null(_OTHER).to_numpy()
        self._rows += np.bincount(numbers, minlength=len(self._rows))
        return numbers

    def _numbered(self, given: pl.Series) -> pl.Series:
        places = given.cast(pl.Enum(self._types), strict=False).to_physical()
        return places.cast(pl.UInt16) + 1

    def totals(self, folder: Path | None = None, before: Totals | None = None, there: Counted | None = None) -> Totals:
        """Return the counts of all events.

        Args:
            folder: where the keys of those that were taken are written, but for those that are there; None: nowhere.
            before: counts of all events of a snapshot that these join, none of which has gone; None: there are none.
            there: the keys of those events.
        """
        found = {name: np.zeros(1 << TYPE_BITS, dtype=np.int64) for name in (USERS, TYPED, PAIRS)}
        users = pairs = 0
        for name, keys in self._keys.items():
            with Written(folder, name, there) as written:
                for part in keys.distinct():
                    fresh = part if there is None else part[~there.holds(name, part)]
                    written.add(fresh)
                    if name in (USERS, NAMES):
                        users += len(fresh) if name == USERS else 0
                        continue
                    found[name] += np.bincount((fresh & _TYPES).astype(np.int64), minlength=1 << TYPE_BITS)
                    if name == PAIRS:
                        whole = part[changes(part >> np.uint64(TYPE_BITS))]
                        pairs += len(whole)
                        pairs -= 0 if there is None else int(there.holds(name, whole, of_any_type=True).sum())
        counts = zip(self._rows[1:].tolist(), found[TYPED][1:].tolist(), found[PAIRS][1:].tolist(), strict=True)
        types = {name: Counts(*one) for name, one in zip(self._types, counts, strict=False)}
        own = Totals(Counts(int(self._rows.sum()), users, pairs), types)
        return own if before is None else before + own


_TYPES = np.uint64((1 << TYPE_BITS) - 1)


def _typed(hashes: Numbers, types: NDArray[np.uint16]) -> Numbers:
    """Return keys: hashes whose last bits are the numbers of types, so that of one hash all lie together."""
    return (hashes & ~_TYPES) | types
