"""How a snapshot's events and items are distributed, and what has changed since another: counts for people to look at.

No statistics are drawn from them here: monitoring says what is beyond chance.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys.config import TextConfig
from recsys.data import columns
from recsys.data.snapshot import Snapshot, brought
from recsys.data.text import item_texts

MOST_ROWS = 31  # of events over time: a month by day
MOST_TYPES = 12
# Each with how events are cut by it, finest first; the last takes any span.
_UNITS = (("day", "1d", "%Y-%m-%d"), ("week", "1w", "%Y-%m-%d"), ("month", "1mo", "%Y-%m"), ("year", "1y", "%Y"))
_DAY, _COUNT = "day", "len"
_PENDING = 4_000_000  # counts that wait to be added up


@dataclass(frozen=True)
class Distribution:
    """Counts by class.

    Attributes:
        what: is counted, such as "users".
        by: what parts the classes, such as "events".
        counts: by class, in the order in which they are looked at.
    """

    what: str
    by: str
    counts: dict[str, int]

    @property
    def shares(self) -> dict[str, float]:
        """Return each class's share of all that was counted."""
        total = sum(self.counts.values())
        return {name: count / total for name, count in self.counts.items()}


@dataclass(frozen=True)
class Change:
    """One figure of two snapshots.

    Attributes:
        name: what it counts.
        before: in the earlier one.
        now: in the later one.
    """

    name: str
    before: int
    now: int


class EventCounts:
    """How many events there are by day, user, item and type, taken in any number of parts.

    What is kept grows with items and days, and by 16 bytes a user, and not with events: users are told apart by 64 bits
    of a hash.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._days = _Counts(_DAY)
        self._users = _Counts(columns.USER_ID)
        self._items = _Counts(columns.ITEM_ID)
        self._types = _Counts(columns.EVENT_TYPE)

    def update(self, events: pl.DataFrame) -> None:
        """Take a part; all have the same columns."""
        self.rows += events.height
        self._days.add(_by_day(events))
        self._users.add(events.group_by(pl.col(columns.USER_ID).hash()).len())
        self._items.add(events.group_by(columns.ITEM_ID).len())
        if columns.EVENT_TYPE in events.columns:
            self._types.add(events.group_by(columns.EVENT_TYPE).len())

    @property
    def by_user(self) -> pl.Series:
        """How many events each user has, in no order."""
        return self._users.table[_COUNT]

    @property
    def by_item(self) -> pl.DataFrame:
        """How many events each item has that has any: item_id, len."""
        return self._items.table

    def distributions(self, items: pl.DataFrame) -> list[Distribution]:
        """Return how events lie in time, by user, item and type, and how long the texts of items are."""
        counted = items.select(columns.ITEM_ID).join(self.by_item, columns.ITEM_ID, how="left")
        lengths = pl.Series(map(len, item_texts(items, TextConfig())), dtype=pl.Int64)
        found = [
            *_over_time(self._days.table),
            Distribution("users", "events", doubling(self.by_user)),
            Distribution("items", "events", doubling(counted[_COUNT].fill_null(0))),
            Distribution("items", "characters of text", doubling(lengths)),
        ]
        types = self._types.table
        return found if types.is_empty() else [*found, Distribution("events", "type", _most_frequent(types))]


class _Counts:
    """Counts by one column, added up now and then."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, counted: pl.DataFrame) -> None:
        self._parts.append(counted.with_columns(pl.col(_COUNT).cast(pl.UInt64)))
        self._rows += counted.height
        if len(self._parts) > 1 and self._rows > _PENDING:
            self._parts, self._rows = [self.table], 0

    @property
    def table(self) -> pl.DataFrame:
        """The key and how many, in no order."""
        if not self._parts:
            return pl.DataFrame(schema={self._key: pl.String, _COUNT: pl.UInt64})
        if len(self._parts) == 1:
            return self._parts[0]
        return pl.concat(self._parts, how="vertical_relaxed").group_by(self._key).agg(pl.col(_COUNT).sum())


def distributions(snapshot: Snapshot) -> list[Distribution]:
    """Return how a snapshot's events are distributed; see ``EventCounts.distributions``."""
    wanted = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.TIMESTAMP_KNOWN, columns.EVENT_TYPE)
    counts, there = EventCounts(), snapshot.event_schema
    for part in snapshot.parts(*(name for name in wanted if name in there)):
        counts.update(part)
    return counts.distributions(snapshot.items())


def over_time(events: pl.DataFrame) -> list[Distribution]:
    """Return events by day, or by the finest longer span of which there are at most ``MOST_ROWS``; none made up."""
    return _over_time(_by_day(events))


def _by_day(events: pl.DataFrame) -> pl.DataFrame:
    if columns.TIMESTAMP_KNOWN in events.columns:
        events = events.filter(pl.col(columns.TIMESTAMP_KNOWN).fill_null(True))
    return events.group_by(pl.col(columns.TIMESTAMP).dt.truncate("1d").alias(_DAY)).len()


def _over_time(days: pl.DataFrame) -> list[Distribution]:
    """Return ``over_time`` of events by day."""
    if days.is_empty():
        return []
    spans = (days.select(_starts(pl.col(_DAY), every)) for _, every, _ in _UNITS)
    span, (unit, every, form) = next(
        (span.to_series(), unit)
        for span, unit in zip(spans, _UNITS, strict=True)
        if span.height <= MOST_ROWS or unit is _UNITS[-1]
    )
    counted = dict(days.group_by(pl.col(_DAY).dt.truncate(every)).agg(pl.col(_COUNT).sum()).iter_rows())
    return [Distribution("events", unit, {f"{start:{form}}": counted.get(start, 0) for start in span})]


def _starts(at: pl.Expr, every: str) -> pl.Expr:
    """Return the beginnings of all spans from that of the first time to that of the last."""
    return pl.datetime_range(at.min().dt.truncate(every), at.max(), every)


def doubling(numbers: pl.Series) -> dict[str, int]:
    """Return how many numbers are 0, 1, 2, 3, 4–5, 6–7, 8–11, 12–15 and so on, from the least class to the greatest."""
    counted = Counter(map(_place, numbers))
    if not counted:
        return {}
    return {_class(place): counted[place] for place in range(min(counted), max(counted) + 1)}


def changes(before: Snapshot, now: Snapshot) -> list[Change]:
    """Return what two snapshots hold, and how much of each is not in the other."""
    figures = []
    for name, column in (("users", columns.USER_ID), ("items", columns.ITEM_ID)):
        earlier, later = (_ids(one, column) for one in (before, now))
        lost, found = (
            one.join(other, column, how="anti").height for one, other in ((earlier, later), (later, earlier))
        )
        figures += [
            Change(name, earlier.height, later.height),
            Change(f"{name} that the other has not", lost, found),
        ]
    events, older = now.manifest.counts.events, before.manifest.counts.events
    quarantined = Change("rows set aside", before.manifest.counts.quarantined, now.manifest.counts.quarantined)
    return [Change("events", older, events), *figures, quarantined]


def previous(snapshots: Sequence[Snapshot], snapshot: Snapshot) -> Snapshot | None:
    """Return the snapshot that was made last before one, of all in the order of their making; None: there is none."""
    ids = [one.id for one in snapshots]
    place = ids.index(snapshot.id) if snapshot.id in ids else len(ids)
    return brought(snapshots[place - 1]) if place else None


def _ids(snapshot: Snapshot, column: str) -> pl.DataFrame:
    table = snapshot.scan() if column == columns.USER_ID else snapshot.items().lazy()
    return table.select(pl.col(column).unique()).collect(engine="streaming")


def _most_frequent(types: pl.DataFrame) -> dict[str, int]:
    """Return how many events are of each type, the most frequent first, the rest of them together."""
    counted = types.sort(["len", columns.EVENT_TYPE], descending=[True, False])
    rows = [("(none)" if name is None else str(name), count) for name, count in counted.iter_rows()]
    rest = sum(count for _, count in rows[MOST_TYPES:])
    return dict(rows[:MOST_TYPES]) | ({f"{len(rows) - MOST_TYPES} others": rest} if rest else {})


def _place(number: int) -> int:
    """Return the class of a number: two for each power of two, parted by the second of its bits."""
    return number if number < 2 else 2 * number.bit_length() - 2 + _half(number)


def _half(number: int) -> int:
    return number >> (number.bit_length() - 2) & 1


def _class(place: int) -> str:
    low, after = _least(place), _least(place + 1)
    return f"{low:,}" if after - low <= 1 else f"{low:,}–{after - 1:,}"


def _least(place: int) -> int:
    """Return the least number of a class: 0, 1, 2, 3, 4, 6, 8, 12 …"""
    return place if place < 2 else (2 + place % 2) << (place // 2 - 1)
