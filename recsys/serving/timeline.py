"""What a user did, from the snapshot and since, in the order in which it happened; what both hold counts once.

Two events are the same where they have one ``event_id``, or, where the snapshot's has none, one item, time and type; a
type that it does not name is any. The snapshot's stays, with what its files say of it. The order is that of a snapshot:
by time, position and ``event_id``, what has none of them last.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.snapshot import Snapshot
from recsys.database.events import Event
from recsys.database.moments import microseconds
from recsys.serving.history import History

NO_POSITION = np.iinfo(np.int64).min
SECOND = 1_000_000  # microseconds


@dataclass(frozen=True, eq=False)
class EventMarks:
    """What tells the events of a snapshot apart, beside their users, items and types; None: all have none of it.

    Attributes:
        fractions: (events,) microseconds beyond the whole second.
        positions: (events,) ``NO_POSITION`` where one has none.
        hashes: (events,) of the ``event_id``, 0 where one has none.
        snapshot: the ids themselves are read from it where they decide an order.
    """

    fractions: NDArray[np.int32] | None
    positions: NDArray[np.int64] | None
    hashes: NDArray[np.uint64] | None
    snapshot: Snapshot

    @classmethod
    def of(cls, snapshot: Snapshot, events: pl.DataFrame) -> "EventMarks":
        """Return the marks of a snapshot's events, in their order."""
        within = events[columns.TIMESTAMP].dt.microsecond().cast(pl.Int32).to_numpy()
        positions = hashes = None
        if columns.POSITION in events.columns:
            positions = events[columns.POSITION].cast(pl.Int64).fill_null(NO_POSITION).to_numpy()
        if columns.EVENT_ID in events.columns:
            hashes = hashed(events[columns.EVENT_ID])
        return cls(within if within.any() else None, positions, hashes, snapshot)

    def names(self, start: int, count: int, user_id: str) -> list[str | None]:
        """Read the ids of a user's newest events, of which the first has a place."""
        if self.hashes is None or not count:
            return [None] * count
        if self.snapshot.segments is None:
            found = self.snapshot.scan().select(columns.EVENT_ID).slice(start, count).collect()
        else:
            parts = self.snapshot.segments.scans(columns.USER_ID, columns.EVENT_ID)
            found = pl.concat(part.filter(pl.col(columns.USER_ID) == user_id).collect() for part in parts)
        return found[columns.EVENT_ID].to_list()[-count:]


def hashed(event_ids: pl.Series) -> NDArray[np.uint64]:
    """Return 64 bits of each id, 0 where there is none; the same ones in one process."""
    found = event_ids.hash().to_numpy().copy()
    found[event_ids.is_null().to_numpy()] = 0
    return found


@dataclass(frozen=True, eq=False)
class Timeline:
    """A user's events of the snapshot, oldest first, as those since are put among them.

    Attributes:
        events: what they are.
        marks: of all the snapshot's events; None: there are none.
        start: the place of the first event there.
        user_id: whose they are.
    """

    events: History
    marks: EventMarks | None = None
    start: int = 0
    user_id: str = ""

    @property
    def positions(self) -> list[int | None]:
        """Within a list; None for an event that has none."""
        if self.marks is None or self.marks.positions is None:
            return [None] * len(self.events)
        own = self.marks.positions[self.start : self.start + len(self.events)].tolist()
        return [None if place == NO_POSITION else place for place in own]

    @property
    def hashes(self) -> list[int]:
        """Of the ids; 0 for an event that has none."""
        if self.marks is None or self.marks.hashes is None:
            return [0] * len(self.events)
        found: list[int] = self.marks.hashes[self.start : self.start + len(self.events)].tolist()
        return found

    @property
    def names(self) -> list[str | None]:
        """The ids themselves, from the snapshot."""
        if self.marks is None:
            return [None] * len(self.events)
        return self.marks.names(self.start, len(self.events), self.user_id)

    def merged(self, live: Sequence[Event]) -> list[int]:
        """Return the places of all events in their order: those of the snapshot, and behind their number those since.

        Args:
            live: events since, of which those that the snapshot holds are left out.
        """
        own, held = len(self.events), self._held(live) if live else set()
        new = [place for place in range(len(live)) if place not in held]
        if not new:
            return list(range(own))
        times = [-1 if time is None else time for time in self.events.times]  # what nobody knows was before
        keys: list[tuple[Any, ...]] = [
            (time, *(_last(position) if time >= 0 else (False, place)))
            for place, (time, position) in enumerate(zip(times, self.positions, strict=True))
        ]
        since = [(microseconds(live[place].timestamp), *_last(live[place].position)) for place in new]
        named = self.names if not set(keys).isdisjoint(since) else [None] * own
        keys = [(*key, *_last(name, "")) for key, name in zip(keys, named, strict=True)]
        keys += [(*key, *_last(live[place].event_id, "")) for key, place in zip(since, new, strict=True)]
        places = [*range(own), *(own + place for place in new)]
        return [places[number] for number in sorted(range(len(keys)), key=keys.__getitem__)]

    def _held(self, live: Sequence[Event]) -> set[int]:
        """Return the places of the live events that the snapshot holds: each of its events is one of them at most."""
        hashes = self.hashes
        ids = set(hashes) - {0}
        names = pl.Series([event.event_id for event in live], dtype=pl.String)
        held = {place for place, name in enumerate(hashed(names).tolist() if ids else ()) if name in ids}
        nameless: Counter[tuple[Hashable, ...]] = Counter(
            (item, time, kind)
            for item, time, kind, name in zip(
                self.events.item_ids, self.events.times, self.events.event_types, hashes, strict=True
            )
            if not name and time is not None
        )
        order = sorted(range(len(live)), key=lambda place: live[place].event_id)
        for typed in (True, False):
            for place in order:
                event = live[place]
                key = (event.item_id, microseconds(event.timestamp), event.event_type if typed else None)
                if place not in held and nameless[key] > 0:
                    nameless[key] -= 1
                    held.add(place)
        return held


def _last(value: Any, absent: Any = 0) -> tuple[bool, Any]:
    """Return what sorts a value, and nothing behind all values."""
    return value is None, absent if value is None else value
