"""How a snapshot's events and items are distributed, and what has changed since another: counts for people to look at.

No statistics are drawn from them here: monitoring says what is beyond chance.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys.config import TextConfig
from recsys.data import columns
from recsys.data.snapshot import Snapshot
from recsys.data.text import item_texts

MOST_ROWS = 31  # of events over time: a month by day
MOST_TYPES = 12
# Each with how events are cut by it, finest first; the last takes any span.
_UNITS = (("day", "1d", "%Y-%m-%d"), ("week", "1w", "%Y-%m-%d"), ("month", "1mo", "%Y-%m"), ("year", "1y", "%Y"))
SPANS = {unit: (every, form) for unit, every, form in _UNITS}


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


def distributions(snapshot: Snapshot) -> list[Distribution]:
    """Return how events lie in time, by user, item and type, and how long the texts of items are."""
    events, items = snapshot.scan(), snapshot.items()
    by_user = _counted(events, columns.USER_ID)["len"]
    by_item = items.select(columns.ITEM_ID).join(_counted(events, columns.ITEM_ID), columns.ITEM_ID, how="left")
    timed = [name for name in (columns.TIMESTAMP, columns.TIMESTAMP_KNOWN) if name in snapshot.event_schema]
    lengths = pl.Series(map(len, item_texts(items, TextConfig())), dtype=pl.Int64)
    found = [
        *over_time(snapshot.events(*timed)),
        Distribution("users", "events", doubling(by_user)),
        Distribution("items", "events", doubling(by_item["len"].fill_null(0))),
        Distribution("items", "characters of text", doubling(lengths)),
    ]
    if columns.EVENT_TYPE in snapshot.event_schema:
        found.append(Distribution("events", "type", _types(_counted(events, columns.EVENT_TYPE))))
    return found


def over_time(events: pl.DataFrame) -> list[Distribution]:
    """Return events by day, or by the finest longer span of which there are at most ``MOST_ROWS``; none made up."""
    known = events.filter(pl.col(columns.TIMESTAMP_KNOWN).fill_null(True)) if _may_be_made_up(events) else events
    times = known[columns.TIMESTAMP]
    if times.is_empty():
        return []
    spans = (times.to_frame("at").select(_starts(pl.col("at"), every)) for _, every, _ in _UNITS)
    span, (unit, every, form) = next(
        (span.to_series(), unit)
        for span, unit in zip(spans, _UNITS, strict=True)
        if span.height <= MOST_ROWS or unit is _UNITS[-1]
    )
    starts = times.dt.truncate(every)
    counted = dict(starts.value_counts().iter_rows())
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
    return snapshots[place - 1] if place else None


def _counted(events: pl.LazyFrame, column: str) -> pl.DataFrame:
    """Return how many events there are of each value of a column."""
    return events.group_by(column).len().collect(engine="streaming")


def _ids(snapshot: Snapshot, column: str) -> pl.DataFrame:
    table = snapshot.scan() if column == columns.USER_ID else snapshot.items().lazy()
    return table.select(pl.col(column).unique()).collect(engine="streaming")


def _types(types: pl.DataFrame) -> dict[str, int]:
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


def _may_be_made_up(events: pl.DataFrame) -> bool:
    return columns.TIMESTAMP_KNOWN in events.columns
