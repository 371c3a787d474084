"""What is known of a user, from the snapshot and since, and how all of it is forgotten."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.data.sequences import Sequences
from recsys.data.snapshot import Snapshot
from recsys.database.engine import Database
from recsys.database.events import EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.moments import microseconds, moment
from recsys.database.tombstones import Removal, Tombstones

SNAPSHOT, LIVE = "snapshot", "live"


@dataclass(frozen=True, eq=False)
class SnapshotUsers:
    """What a snapshot knows of users.

    Attributes:
        rows: where a user's history stands, by user id.
        histories: item indices, oldest first, with times in Unix seconds where they are known.
        item_ids: by index.
    """

    rows: Mapping[str, int]
    histories: Sequences
    item_ids: Sequence[str]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "SnapshotUsers":
        """Read the users of a snapshot."""
        rows = {user_id: row for row, user_id in enumerate(snapshot.user_ids())}
        return cls(rows, snapshot.sequences(), snapshot.item_ids())

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
        own = self.histories.times[self.histories.offsets[row] : self.histories.offsets[row + 1]]
        return [(item_id, int(time) * 1_000_000) for item_id, time in zip(item_ids, own, strict=True)]

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


class Users:
    """All that a database and a snapshot know of users.

    Attributes:
        events: live events.
        tombstones: who is forgotten.
        impressions: what was answered.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.events = EventStore(database)
        self.tombstones = Tombstones(database)
        self.impressions = ImpressionStore(database, self.tombstones)

    def history(self, known: SnapshotUsers, offered: Container[str], user_id: str) -> list[str]:
        """Return the item ids that an answer for a user is made from, oldest first.

        Args:
            known: what the snapshot knows.
            offered: the catalogue: live events of items that it does not hold are left out.
            user_id: whose.
        """
        until = self.tombstones.read().when(user_id)
        live = [
            event.item_id
            for event in self.events.history(user_id)
            if event.item_id in offered and (until is None or microseconds(event.timestamp) > until)
        ]
        return known.history(user_id, until) + live

    def past(self, known: SnapshotUsers, user_id: str) -> list[PastEvent]:
        """Return the events of a user, oldest first: the snapshot's, then the live ones; none that is forgotten."""
        until = self.tombstones.read().when(user_id)
        old = [
            PastEvent(item_id, None if time is None else moment(time), SNAPSHOT)
            for item_id, time in known.events(user_id)
        ]
        live = self.events.history(user_id)
        new = [PastEvent(event.item_id, event.timestamp, LIVE, event.event_type) for event in live]
        if until is None:
            return old + new
        return [event for event in old + new if event.time is not None and microseconds(event.time) > until]

    def forget(self, user_id: str) -> Removal:
        """Forget a user; ``rows`` of the answer counts events, then impressions."""
        deletions: Sequence = (self.events.forget, self.impressions.forget)
        return self.tombstones.forget(user_id, deletions)
