"""Live events in a SQL database: what users did since the snapshot that is served was made.

An event counts once, whoever repeats it. A sender is told only what it has sent itself: that somebody else's event has
an id already would be news to it, so an event that is left out for that reason is noted as this sender's.

``add`` returns when the events are on disk, so neither a crash of the process nor a loss of power takes back what was
accepted. The price, one sync a call, is why it takes many events at once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from recsys.artifacts import canonical_json, digest
from recsys.data import columns
from recsys.database.engine import TEXT, Database
from recsys.database.moments import EPOCH, LATEST, microseconds, moment
from recsys.errors import RequestError

HISTORY_LIMIT = 1_000  # newest events of one user that an answer looks at

_METADATA = sql.MetaData()
_EVENTS = sql.Table(
    "events",
    _METADATA,
    sql.Column(columns.EVENT_ID, TEXT, primary_key=True),
    sql.Column(columns.USER_ID, TEXT, nullable=False),
    sql.Column(columns.ITEM_ID, TEXT, nullable=False),
    sql.Column(columns.TIMESTAMP, sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column(columns.EVENT_TYPE, TEXT, nullable=False),
    sql.Column(columns.VALUE, sql.Double),
    sql.Column(columns.POSITION, sql.BigInteger),
    sql.Column("sender", TEXT),  # the id of the key that sent it; null: there were no keys
)
_FIELDS = [column for column in _EVENTS.columns if column.name != "sender"]
# Ids of others' events that a sender has used: told a second time, it has to hear of a duplicate.
_REPEATED = sql.Table(
    "repeated_events",
    _METADATA,
    sql.Column(columns.EVENT_ID, TEXT, primary_key=True),
    sql.Column("sender", TEXT, primary_key=True),
    sql.Column(columns.USER_ID, TEXT, nullable=False),  # of the event that was left out
)
sql.Index("repeated_events_by_user", _REPEATED.c.user_id)
sql.Index("events_by_user", *(_EVENTS.c[name] for name in (columns.USER_ID, *columns.EVENT_ORDER)))


class EventError(RequestError):
    """An event lacks an id, or holds a time or a value that none can be."""


@dataclass(frozen=True)
class Event:
    """One user doing one thing to one item at one time.

    Attributes:
        timestamp: with a time zone; kept as UTC with microseconds.
        event_id: what makes a repeated event a duplicate; left empty, it is the hash of all the rest.

    Raises:
        EventError: an id is empty, the value is not finite, or the timestamp has no time zone or is not of 1970–9998.
    """

    user_id: str
    item_id: str
    timestamp: datetime
    event_id: str = ""
    event_type: str = "interaction"
    value: float | None = None
    position: int | None = None

    def __post_init__(self) -> None:
        if not self.user_id or not self.item_id:
            raise EventError(f"An event needs a user_id and an item_id; got {self.user_id!r} and {self.item_id!r}.")
        if self.timestamp.tzinfo is None:
            raise EventError(f"The timestamp {self.timestamp} has no time zone; append Z or an offset.")
        if not EPOCH <= self.timestamp < LATEST:
            raise EventError(f"The timestamp {self.timestamp} lies outside the years 1970 to 9998.")
        if self.value is not None and not math.isfinite(self.value):
            raise EventError(f"The value {self.value} is not a finite number.")
        object.__setattr__(self, "timestamp", self.timestamp.astimezone(UTC))
        if not self.event_id:
            time = microseconds(self.timestamp)
            content = [self.user_id, self.item_id, time, self.event_type, self.value, self.position]
            object.__setattr__(self, "event_id", digest(canonical_json(content))[:32])

    def to_row(self) -> dict[str, Any]:
        """Return the event as a row of the table."""
        return {**vars(self), columns.TIMESTAMP: microseconds(self.timestamp)}

    @classmethod
    def from_row(cls, row: sql.RowMapping) -> "Event":
        """Return the event of a row of the table."""
        return cls(**{**row, columns.TIMESTAMP: moment(row[columns.TIMESTAMP])})


@dataclass(frozen=True)
class AddResult:
    """How many events were new, and how many were known already.

    Attributes:
        accepted: events that are stored now and were not before.
        duplicates: all others.
        foreign: those of the duplicates whose id only others had used before; their sender must not be told.
    """

    accepted: int
    duplicates: int
    foreign: int = 0


class EventStore:
    """The events table of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._engine = database.engine
        database.create([_EVENTS, _REPEATED])

    def add(self, events: Iterable[Event], sender: str | None = None) -> AddResult:
        """Store events in one transaction, each at most once; all of them are on disk on return, or none is.

        Args:
            events: of which an id may come twice.
            sender: the id of the key that sends them; None where there are no keys.
        """
        rows = [event.to_row() | {"sender": sender} for event in events]
        if not rows:
            return AddResult(0, 0)
        # Writers that insert the same ids in one order wait for each other; in different orders they would deadlock.
        rows.sort(key=lambda row: str(row[columns.EVENT_ID]))
        statement = self.database.insert(_EVENTS).on_conflict_do_nothing(index_elements=[_EVENTS.c.event_id])
        with self._engine.begin() as connection:
            accepted = connection.execute(statement.returning(_EVENTS.c.event_id), rows).scalars().all()
            duplicates = len(rows) - len(accepted)
            foreign = self._note_repeated(connection, rows, sender) if duplicates and sender is not None else 0
        return AddResult(len(accepted), duplicates, foreign)

    def _note_repeated(self, connection: sql.Connection, rows: list[dict[str, Any]], sender: str) -> int:
        """Note which ids of others' events a sender has used; return how many it had not used before."""
        ids = {row[columns.EVENT_ID]: row[columns.USER_ID] for row in rows}
        others = sql.select(_EVENTS.c.event_id).where(
            _EVENTS.c.event_id.in_(ids), _EVENTS.c.sender.is_distinct_from(sender)
        )
        used = [
            {columns.EVENT_ID: event_id, "sender": sender, columns.USER_ID: ids[event_id]}
            for event_id in sorted(connection.execute(others).scalars())
        ]
        if not used:
            return 0
        insert = self.database.insert(_REPEATED).on_conflict_do_nothing(index_elements=_REPEATED.primary_key.columns)
        return len(connection.execute(insert.returning(_REPEATED.c.event_id), used).all())

    def history(self, user_id: str, limit: int = HISTORY_LIMIT) -> list[Event]:
        """Return the newest events of a user, oldest first: by timestamp, position (none before any) and event_id."""
        newest = (
            sql.select(*_FIELDS)
            .where(_EVENTS.c.user_id == user_id)
            .order_by(_EVENTS.c.timestamp.desc(), _EVENTS.c.position.desc().nulls_last(), _EVENTS.c.event_id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(newest).mappings().all()
        return [Event.from_row(row) for row in reversed(rows)]

    def holds(self, event_id: str) -> bool:
        """Tell whether an event can be read."""
        with self._engine.connect() as connection:
            return (
                connection.execute(sql.select(_EVENTS.c.event_id).where(_EVENTS.c.event_id == event_id)).first()
                is not None
            )

    def count(self) -> int:
        """Return the number of stored events."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(sql.func.count()).select_from(_EVENTS)).scalar_one()

    def forget(self, connection: sql.Connection, user_id: str, most: int) -> int:
        """Delete so many events of a user at most within a transaction; return how many."""
        some = sql.select(_EVENTS.c.event_id).where(_EVENTS.c.user_id == user_id).limit(most)
        ids = connection.execute(some).scalars().all()
        repeated = (_REPEATED.c.user_id == user_id) | _REPEATED.c.event_id.in_(ids)
        connection.execute(sql.delete(_REPEATED).where(repeated))
        return connection.execute(sql.delete(_EVENTS).where(_EVENTS.c.event_id.in_(ids))).rowcount
