"""What is known of a user, from the snapshot and since, and how all of it is forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.database.engine import Database
from recsys.database.events import EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.moments import microseconds, moment
from recsys.database.tombstones import Removal, Tombstones
from recsys.serving.recommender import Recommender

SNAPSHOT, LIVE = "snapshot", "live"


@dataclass(frozen=True)
class PastEvent:
    """One event of a user; ``source`` says where it is kept, ``time`` is None where the snapshot's are made up."""

    item_id: str
    time: datetime | None
    source: str
    event_type: str | None = None


class Users:
    """All that a database and a generation know of users.

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

    def history(self, recommender: Recommender, user_id: str) -> list[str]:
        """Return the item ids that an answer for a user is made from, oldest first."""
        until = self.tombstones.read().when(user_id)
        live = self.events.history(user_id)
        item_ids = [event.item_id for event in live if until is None or microseconds(event.timestamp) > until]
        return recommender.history(user_id, item_ids, until)

    def past(self, recommender: Recommender, user_id: str) -> list[PastEvent]:
        """Return the events of a user, oldest first: the snapshot's, then the live ones; none that is forgotten."""
        until = self.tombstones.read().when(user_id)
        old = [
            PastEvent(item_id, None if time is None else moment(time), SNAPSHOT)
            for item_id, time in recommender.snapshot_events(user_id)
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
