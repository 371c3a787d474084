"""What is known of a user, from the snapshot and since, and how all of it is forgotten."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.mapped_sequences import mapped_sequences
from recsys.data.sequences import Sequences
from recsys.data.signals import Signals
from recsys.data.snapshot import Snapshot
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.moments import microseconds, moment
from recsys.database.tombstones import Removal, Tombstones
from recsys.database.user_attributes import AttributeStore, LiveAttributes
from recsys.serving.audience import SnapshotAudience
from recsys.serving.history import History
from recsys.serving.live_attributes import fitting
from recsys.serving.timeline import SECOND, EventMarks, Timeline

SNAPSHOT, LIVE = "snapshot", "live"


@dataclass(frozen=True, eq=False)
class SnapshotUsers:
    """What a snapshot knows of users.

    Attributes:
        rows: where a user's history stands, by user id.
        histories: item indices, oldest first, with times in Unix seconds where they are known.
        item_ids: by index.
        types: (events,) what each event is, a place in ``type_names`` or -1; None: events have no types.
        type_names: what there is.
        values: (events,) float64, NaN where there is none; None: events have no values.
        audience: what is known of them beside, and what is popular among whom; None: nothing.
        marks: what tells events apart beside; None: nothing.
    """

    rows: Mapping[str, int]
    histories: Sequences
    item_ids: Sequence[str]
    types: NDArray[np.int16] | None = None
    type_names: Sequence[str] = ()
    values: NDArray[np.float64] | None = None
    audience: SnapshotAudience | None = None
    marks: EventMarks | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, signals: Signals | None = None) -> "SnapshotUsers":
        """Read the users of a snapshot; ``signals`` say which events make something popular."""
        rows = {user_id: row for row, user_id in enumerate(snapshot.user_ids())}
        wanted = (columns.EVENT_TYPE, columns.VALUE, *columns.EVENT_ORDER)
        events = snapshot.events(*(name for name in wanted if name in snapshot.event_schema))
        names: list[str] = []
        types = values = None
        if columns.EVENT_TYPE in events.columns:
            names = events[columns.EVENT_TYPE].drop_nulls().unique().sort().to_list()
            codes = events[columns.EVENT_TYPE].replace_strict(names, range(len(names)), default=-1)
            types = codes.cast(pl.Int16).to_numpy()
        if columns.VALUE in events.columns:
            values = events[columns.VALUE].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return cls(
            rows,
            mapped_sequences(snapshot),
            snapshot.item_ids(),
            types,
            names,
            values,
            SnapshotAudience.of(snapshot, signals),
            EventMarks.of(snapshot, events),
        )

    def __contains__(self, user_id: str) -> bool:
        return user_id in self.rows

    def events(self, user_id: str) -> list[tuple[str, int | None]]:
        """Return item ids and times (microseconds since 1970; None: made up) of a user's events, oldest first."""
        row = self.rows.get(user_id)
        if row is None:
            return []
        item_ids = [self.item_ids[item] for item in self.histories.row(row)]
        if self.histories.times is None:
            return [(item_id, None) for item_id in item_ids]
        own = slice(*self.histories.offsets[row : row + 2].tolist())
        times = self.histories.times[own].astype(np.int64) * SECOND
        if self.marks is not None and self.marks.fractions is not None:
            times += self.marks.fractions[own]
        return list(zip(item_ids, times.tolist(), strict=True))

    def past(self, user_id: str, after: int | None = None) -> History:
        """Return a user's events, oldest first; arguments as in ``history``."""
        return self.timeline(user_id, after).events

    def timeline(self, user_id: str, after: int | None = None) -> Timeline:
        """Return a user's events as others can be put among them; arguments as in ``history``."""
        row = self.rows.get(user_id)
        if row is None:
            return Timeline(History.of([]))
        events, own = self.events(user_id), slice(*self.histories.offsets[row : row + 2].tolist())
        kept = [place for place, (_, time) in enumerate(events) if after is None or (time or 0) > after]
        types: Sequence[str | None] = [None] * len(events)
        values: Sequence[float | None] = [None] * len(events)
        if self.types is not None:
            types = [None if code < 0 else self.type_names[code] for code in self.types[own].tolist()]
        if self.values is not None:
            values = [None if math.isnan(value) else value for value in self.values[own].tolist()]
        history = History(
            [events[place][0] for place in kept],
            [events[place][1] for place in kept],
            [types[place] for place in kept],
            [values[place] for place in kept],
        )
        return Timeline(history, self.marks, own.stop - len(kept), user_id)  # sorted by time: the newest are kept

    def history(self, user_id: str, after: int | None = None) -> list[str]:
        """Return the item ids of a user's events, oldest first.

        Args:
            user_id: whose.
            after: microseconds since 1970; events up to then are left out, all of them where times are unknown.
        """
        return [item_id for item_id, time in self.events(user_id) if after is None or (time or 0) > after]


@dataclass(frozen=True)
class PastEvent:
    """One event of a user; ``source`` says where it is kept, ``time`` is None where the snapshot's are made up."""

    item_id: str
    time: datetime | None
    source: str
    event_type: str | None = None
    value: float | None = None


@dataclass(frozen=True)
class AsOf:
    """What of users counts where answers are made as of a moment. Who is forgotten later is forgotten all the same.

    Attributes:
        batch: the last batch of events that does, see ``recsys.database.live_tables``; None: all events do.
        said: attributes as they were put by then, by user.
    """

    batch: int | None
    said: Mapping[str, LiveAttributes]


class Users:
    """All that a database and a snapshot know of users.

    Attributes:
        events: live events.
        tombstones: who is forgotten.
        impressions: what was answered.
        said: users' attributes as they were put.
        as_of: the moment; None: now.
    """

    def __init__(self, database: Database, as_of: AsOf | None = None) -> None:
        self.database = database
        self.as_of = as_of
        self.events = EventStore(database)
        self.tombstones = Tombstones(database)
        self.impressions = ImpressionStore(database, self.tombstones)
        self.said = AttributeStore(database)

    def history(self, known: SnapshotUsers, offered: Container[str], user_id: str) -> History:
        """Return the events that an answer for a user is made from, oldest first.

        Args:
            known: what the snapshot knows.
            offered: the catalogue: live events of items that it does not hold are left out.
            user_id: whose.
        """
        return _offered(*self._merged(known, user_id), offered)

    def histories(self, known: SnapshotUsers, offered: Container[str], user_ids: Sequence[str]) -> list[History]:
        """Return the events of each of some users, as ``history`` does, in few questions to the database."""
        forgotten, active = self.tombstones.read(), self.events.active(user_ids, self._until)
        found = []
        for user_id in user_ids:
            live = self.events.history(user_id, until=self._until) if user_id in active else []
            found.append(_offered(*_merged(known, user_id, forgotten.when(user_id), live), offered))
        return found

    def active(self) -> set[str]:
        """Return the ids of all users who have live events."""
        return self.events.users(self._until)

    @property
    def _until(self) -> int | None:
        return None if self.as_of is None else self.as_of.batch

    def _merged(self, known: SnapshotUsers, user_id: str) -> tuple[History, list[Event], list[int]]:
        until = self.tombstones.read().when(user_id)
        return _merged(known, user_id, until, self.events.history(user_id, until=self._until))

    def attributes(self, known: SnapshotUsers, user_id: str) -> dict[str, Any]:
        """Return what is known of a user beside what they did, none of it forgotten."""
        return self.described(known, user_id)[0]

    def described(self, known: SnapshotUsers, user_id: str) -> tuple[dict[str, Any], str | None]:
        """Return a user's attributes and where they are kept: as they were put, or the snapshot's if those are newer.

        What was put stands for the whole of them; None for where says that nothing is known.
        """
        if known.audience is None:
            return {}, None
        said = self.said.find(user_id) if self.as_of is None else self.as_of.said.get(user_id)
        until = self.tombstones.read().when(user_id)
        if said is not None and until is not None and said.time <= until:
            said = None  # forgotten since the moment as of which is asked
        times = [time for time in (until, said.time if said else None) if time is not None]
        ours = known.audience.attributes(user_id, max(times, default=None))
        if said is None or ours:
            return ours, SNAPSHOT if ours else None
        return fitting(said.values, known.audience.schema), LIVE

    def past(self, known: SnapshotUsers, user_id: str) -> list[PastEvent]:
        """Return the events of a user, oldest first, each once; none that is forgotten."""
        then, live, order = self._merged(known, user_id)
        old = [
            PastEvent(item_id, None if time is None else moment(time), SNAPSHOT, event_type, value)
            for item_id, time, event_type, value in zip(
                then.item_ids, then.times, then.event_types, then.values, strict=True
            )
        ]
        new = [PastEvent(event.item_id, event.timestamp, LIVE, event.event_type, event.value) for event in live]
        both = old + new
        return [both[place] for place in order]

    def forget(self, user_id: str) -> Removal:
        """Forget a user; ``rows`` of the answer counts events, then impressions, then rows of attributes."""
        deletions: Sequence = (self.events.forget, self.impressions.forget, self.said.forget)
        return self.tombstones.forget(user_id, deletions)


def _merged(
    known: SnapshotUsers, user_id: str, until: int | None, live: list[Event]
) -> tuple[History, list[Event], list[int]]:
    """Return a user's events of the snapshot, those since, and the places of all, each once, in their order.

    None of them is forgotten: up to ``until``, microseconds since 1970, all are.
    """
    timeline = known.timeline(user_id, until)
    if until is not None:
        live = [event for event in live if microseconds(event.timestamp) > until]
    return timeline.events, live, timeline.merged(live)


def _offered(events: History, live: list[Event], order: list[int], offered: Container[str]) -> History:
    """Return events in their order, without those since of items that the catalogue does not hold."""
    if not live:
        return events
    together = events + History(
        [event.item_id for event in live],
        [microseconds(event.timestamp) for event in live],
        [event.event_type for event in live],
        [event.value for event in live],
    )
    offering = [place for place in order if place < len(events) or together.item_ids[place] in offered]
    return events if len(offering) == len(events) else together.at(offering)
