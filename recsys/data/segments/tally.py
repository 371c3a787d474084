"""What is counted over all events while they pass in segments: users, repeats, what types and values there are.

Of a user and of a user and item 64 bits of a hash are counted in the place of their ids: of ten million users, one is
missed in one of a million tables.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from recsys.data import columns
from recsys.data.segments.room import Room
from recsys.data.segments.spill import Spill
from recsys.data.segments.totals import Counts, Totals

_BUCKETS = 6  # bits
_MOST_HELD = 32 << 20
_MOST_NAMED = 10_000  # types that are told apart
_USER, _PAIR, _TYPE = "user", "pair", "type"
_OTHER = 0
TALLIED = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE, columns.TIMESTAMP_KNOWN)


class Tally:
    """Counts of events, taken in any order.

    Args:
        room: for what does not fit into memory.
    """

    def __init__(self, room: Room) -> None:
        self._spill = Spill(room, "tally", _MOST_HELD)
        self._types: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self.rows = 0
        self.times_known = True

    def add(self, events: pl.DataFrame) -> None:
        """Count some events, each of which comes once."""
        self.rows += events.height
        if columns.TIMESTAMP_KNOWN in events.columns:
            self.times_known &= bool(events[columns.TIMESTAMP_KNOWN].fill_null(True).all())
        rows = _marked(events).with_columns(self._typed(events).alias(_TYPE))
        self._spill.add(rows, rows[_USER] // (1 << (64 - _BUCKETS)))

    def _typed(self, events: pl.DataFrame) -> pl.Series:
        if columns.EVENT_TYPE not in events.columns:
            return pl.repeat(_OTHER, events.height, dtype=pl.UInt32, eager=True)
        for name, times in events[columns.EVENT_TYPE].drop_nulls().value_counts().rows():
            if name not in self._types and len(self._types) < _MOST_NAMED:
                self._types[name] = len(self._types) + 1
            number = self._types.get(name, _OTHER)
            self._counts[number] = self._counts.get(number, 0) + times
        return self._numbered(events[columns.EVENT_TYPE])

    def totals(self) -> Totals:
        """Return the counts of all events."""
        names = {number: name for name, number in self._types.items()}
        found = Totals(Counts(self.rows), {name: Counts(self._counts[number]) for number, name in names.items()})
        for bucket in sorted(self._spill.rows):
            found += _counted(pl.concat(self._spill.take(bucket)), names)
        return found

    def beside(self, before: Totals, gone: pl.DataFrame, rest: Iterable[pl.LazyFrame]) -> Totals:
        """Return the counts of all events where only those that are new, or stand in new segments, were taken.

        Args:
            before: the counts of those that were there.
            gone: ``marks`` of those that stood in segments which were made anew; all of them were taken.
            rest: events of the other segments, with ``TALLIED`` columns.
        """
        rows = pl.concat(part for bucket in sorted(self._spill.rows) for part in self._spill.take(bucket))
        gone = gone.with_columns(self._numbered(gone[_TYPE]))
        new = rows.join(gone, on=[_USER, _PAIR, _TYPE], how="anti").unique()
        users, pairs = new[_USER].unique().implode(), new[_PAIR].unique().implode()
        of_users, of_pairs = [gone.select(_TYPE, _USER).unique()], [gone.select(_TYPE, _PAIR).unique()]
        for scan in rest:  # of all events there, those of few users, and of these few pairs
            found = marks(scan.filter(pl.col(columns.USER_ID).hash().is_in(users)).collect())
            for held, some in (
                (of_users, found.select(_TYPE, _USER).unique()),
                (of_pairs, found.filter(found[_PAIR].is_in(pairs)).select(_TYPE, _PAIR).unique()),
            ):
                held.append(some.with_columns(self._numbered(some[_TYPE])))
        names = {number: name for name, number in self._types.items()}
        counts = Totals(
            Counts(self.rows - gone.height),
            {name: Counts(self._counts[number] - int((gone[_TYPE] == number).sum())) for number, name in names.items()},
        )
        for key, held in ((_USER, of_users), (_PAIR, of_pairs)):
            there, own = pl.concat(held).unique(), new.select(_TYPE, key).unique()
            fresh = own.select(key).unique().join(there.select(key), on=key, how="anti").height
            typed = own.join(there, on=[_TYPE, key], how="anti")[_TYPE].value_counts().rows()
            counts += Totals(
                _of(key, fresh), {names[number]: _of(key, count) for number, count in typed if number in names}
            )
        return before + counts

    def _numbered(self, types: pl.Series) -> pl.Series:
        """Return the numbers of types that were counted, by their names."""
        if not self._types:
            return pl.repeat(_OTHER, len(types), dtype=pl.UInt32, eager=True).alias(_TYPE)
        return types.replace_strict(self._types, default=_OTHER, return_dtype=pl.UInt32)


def _of(key: str, count: int) -> Counts:
    return Counts(0, count, 0) if key == _USER else Counts(0, 0, count)


def marks(events: pl.DataFrame) -> pl.DataFrame:
    """Return what ``Tally.beside`` needs to know of some events."""
    if columns.EVENT_TYPE in events.columns:
        typed = events[columns.EVENT_TYPE]
    else:
        typed = pl.repeat(None, events.height, dtype=pl.String, eager=True)
    return _marked(events).with_columns(typed.alias(_TYPE))


def _marked(events: pl.DataFrame) -> pl.DataFrame:
    user, item = events[columns.USER_ID].hash(), events[columns.ITEM_ID].hash(1)
    return pl.DataFrame({_USER: user, _PAIR: user ^ item})


def _counted(rows: pl.DataFrame, names: Mapping[int, str]) -> Totals:
    """Return users and pairs of rows that hold all of theirs."""
    found = rows.group_by(_TYPE).agg(pl.n_unique(_USER), pl.n_unique(_PAIR)).rows()
    types = {names[number]: Counts(0, users, pairs) for number, users, pairs in found if number in names}
    return Totals(Counts(0, rows[_USER].n_unique(), rows[_PAIR].n_unique()), types)
