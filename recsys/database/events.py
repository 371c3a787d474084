"""Live events in a SQL database: what users did since the snapshot that is served was made.

An event counts once, whoever repeats it; of two with one id and different contents the first stays, and the second is a
conflict. A sender is told only what it has sent itself: that somebody else's event has an id already would be news to
it, so an event that is left out for that reason is noted as this sender's, and compared with what this sender sent.

``add`` returns when the events are on disk, so neither a crash of the process nor a loss of power takes back what was
accepted. The price, one sync a call, is why it takes many events at once.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from recsys.artifacts import canonical_json, digest
from recsys.data import columns
from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import EPOCH, LATEST, microseconds, moment
from recsys.errors import RequestError

HISTORY_LIMIT = 1_000  # newest events of one user that an answer looks at
IDS_AT_ONCE = 500  # in one statement

EVENTS = sql.Table(
    "events",
    METADATA,
    sql.Column(columns.EVENT_ID, TEXT, primary_key=True),
    sql.Column(columns.USER_ID, TEXT, nullable=False),
    sql.Column(columns.ITEM_ID, TEXT, nullable=False),
    sql.Column(columns.TIMESTAMP, sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column(columns.EVENT_TYPE, TEXT, nullable=False),
    sql.Column(columns.VALUE, sql.Double),
    sql.Column(columns.POSITION, sql.BigInteger),
    sql.Column("sender", TEXT),  # the id of the key that sent it; null: there were no keys
    sql.Column("rec_id", TEXT),  # of the answer that brought it, as its sender says; null: it does not
    sql.Column("context", TEXT),  # JSON; null: nothing was said of the situation
    sql.Column("batch", sql.BigInteger),  # in which it first left the database; null: it has not
    sql.Column("received", sql.BigInteger),  # when it came in, microseconds since 1970, UTC; null: it was not noted
)
_FIELDS = [column for column in EVENTS.columns if column.name not in ("sender", "batch", "received")]
# What makes two events with one id different ones; a timestamp counts, too, unless it was left out.
_CONTENT = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE, columns.VALUE, columns.POSITION, "rec_id")
# Ids of others' events that a sender has used: told a second time, it has to hear of a duplicate.
_REPEATED = sql.Table(
    "repeated_events",
    METADATA,
    sql.Column(columns.EVENT_ID, TEXT, primary_key=True),
    sql.Column("sender", TEXT, primary_key=True),
    sql.Column(columns.USER_ID, TEXT, nullable=False),  # of the event that was left out
    sql.Column("content", TEXT),  # its digest, without the time; null: noted by an older version
    sql.Column(columns.TIMESTAMP, sql.BigInteger),  # null: it was left out
)
sql.Index("repeated_events_by_user", _REPEATED.c.user_id)
_BROUGHT: dict[str, Any] = {f"{dialect}_where": EVENTS.c.rec_id.is_not(None) for dialect in ("sqlite", "postgresql")}
sql.Index("events_by_rec_id", EVENTS.c.rec_id, EVENTS.c.item_id, EVENTS.c.timestamp, **_BROUGHT)
sql.Index("events_by_batch", EVENTS.c.batch)
sql.Index("events_by_user", *(EVENTS.c[name] for name in (columns.USER_ID, *columns.EVENT_ORDER)))


class EventError(RequestError):
    """An event lacks an id, or holds a time or a value that none can be."""


@dataclass(frozen=True)
class Event:
    """One user doing one thing to one item at one time.

    Attributes:
        timestamp: with a time zone; kept as UTC with microseconds.
        event_id: what makes a repeated event a duplicate; left empty, it is the hash of all the rest.
        rec_id: of the answer that brought it.
        context: the situation, by name; None: nothing is said of it.
        timed: whether its sender gave the timestamp; one that was made up differs whenever the event is repeated.

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
    rec_id: str | None = None
    context: Mapping[str, Any] | None = None
    timed: bool = field(default=True, compare=False)

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
            content += [] if self.rec_id is None else [self.rec_id]  # without one the id is what it always was
            content += [dict(self.context)] if self.context else []
            object.__setattr__(self, "event_id", digest(canonical_json(content))[:32])

    def to_row(self) -> dict[str, Any]:
        """Return the event as a row of the table."""
        row = {**vars(self), columns.TIMESTAMP: microseconds(self.timestamp)}
        del row["timed"]
        row["context"] = canonical_json(dict(self.context)).decode() if self.context else None
        return row

    @classmethod
    def from_row(cls, row: sql.RowMapping) -> "Event":
        """Return the event of a row of the table."""
        context = None if row["context"] is None else json.loads(row["context"])
        return cls(**{**row, columns.TIMESTAMP: moment(row[columns.TIMESTAMP]), "context": context})


@dataclass(frozen=True)
class AddResult:
    """How many events were new, and how many were known already.

    Attributes:
        accepted: events that are stored now and were not before.
        duplicates: all others.
        foreign: those of the duplicates whose id only others had used before; their sender must not be told.
        conflicts: places, among those given, of the duplicates that say something else than what stands under their
            id, as far as their sender may be told.
        new: ids of the events that are stored now.
    """

    accepted: int
    duplicates: int
    foreign: int = 0
    conflicts: tuple[int, ...] = field(default=(), compare=False)
    new: frozenset[str] = field(default=frozenset(), compare=False)


class EventStore:
    """The events table of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._engine = database.engine

    def add(self, events: Iterable[Event], sender: str | None = None, openly: bool = False) -> AddResult:
        """Store events in one transaction, each at most once; all of them are on disk on return, or none is.

        Args:
            events: of which an id may come twice; the first counts.
            sender: the id of the key that sends them; None where there are no keys.
            openly: whether it may be told what others have sent; always so without a key.
        """
        given = list(events)
        first: dict[str, Event] = {}
        for event in given:
            first.setdefault(event.event_id, event)
        if not first:
            return AddResult(0, 0)
        # Writers that insert the same ids in one order wait for each other; in different orders they would deadlock.
        noted = {"sender": sender, "received": microseconds(datetime.now(UTC))}
        rows = [first[event_id].to_row() | noted for event_id in sorted(first)]
        statement = self.database.insert(EVENTS).on_conflict_do_nothing(index_elements=[EVENTS.c.event_id])
        with self._engine.begin() as connection:
            new = set(connection.execute(statement.returning(EVENTS.c.event_id), rows).scalars())
            known = [event for event_id, event in sorted(first.items()) if event_id not in new]
            stands, foreign = self._standing(connection, known, sender, openly) if known else ({}, 0)
        conflicts = []
        for place, event in enumerate(given):
            if event.event_id not in new or event is not first[event.event_id]:
                stood = stands.get(event.event_id) or _note(first[event.event_id])
                conflicts += [place] if _contradict(_note(event), stood) else []
        return AddResult(len(new), len(given) - len(new), foreign, tuple(conflicts), frozenset(new))

    def _standing(
        self, connection: sql.Connection, events: list[Event], sender: str | None, openly: bool
    ) -> tuple[dict[str, Mapping[str, Any]], int]:
        """Return what stands under the ids of events that are known already, as far as their sender may be told.

        Which ids of others' events a sender has used is noted; how many it had not used before is returned as well.
        """
        found = sql.select(EVENTS).where(EVENTS.c.event_id.in_([event.event_id for event in events]))
        stored = {row[columns.EVENT_ID]: row for row in connection.execute(found).mappings()}
        stands: dict[str, Mapping[str, Any]] = {event_id: _noted(dict(row)) for event_id, row in stored.items()}
        used = [
            {columns.EVENT_ID: event.event_id, columns.USER_ID: event.user_id, "sender": sender, **_note(event)}
            for event in events
            if event.event_id in stored and stored[event.event_id]["sender"] != sender
        ]
        if sender is None or not used:
            return stands, 0
        insert = self.database.insert(_REPEATED).on_conflict_do_nothing(index_elements=_REPEATED.primary_key.columns)
        foreign = len(connection.execute(insert.returning(_REPEATED.c.event_id), used).all())
        if openly:
            return stands, 0
        ids = [note[columns.EVENT_ID] for note in used]
        own = sql.select(_REPEATED).where(_REPEATED.c.event_id.in_(ids), _REPEATED.c.sender == sender)
        stands |= {row[columns.EVENT_ID]: row for row in connection.execute(own).mappings()}
        return stands, foreign

    def history(self, user_id: str, limit: int = HISTORY_LIMIT, until: int | None = None) -> list[Event]:
        """Return the newest events of a user, oldest first: by timestamp, position (none before any) and event_id.

        Args:
            user_id: whose.
            limit: how many at most.
            until: the last batch (see ``recsys.database.live_tables``) that counts; None: all events do.
        """
        newest = (
            sql.select(*_FIELDS)
            .where(EVENTS.c.user_id == user_id, *_up_to(until))
            .order_by(EVENTS.c.timestamp.desc(), EVENTS.c.position.desc().nulls_last(), EVENTS.c.event_id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(newest).mappings().all()
        return [Event.from_row(row) for row in reversed(rows)]

    def users(self, until: int | None = None) -> set[str]:
        """Return the ids of all users who have events; ``until`` as in ``history``."""
        found = sql.select(EVENTS.c.user_id).distinct().where(*_up_to(until))
        with self._engine.connect() as connection:
            return set(connection.execute(found).scalars())

    def active(self, user_ids: Sequence[str], until: int | None = None) -> set[str]:
        """Return which of some users have events; ``until`` as in ``history``."""
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(user_ids), IDS_AT_ONCE):
                some = EVENTS.c.user_id.in_(user_ids[start : start + IDS_AT_ONCE])
                found.update(
                    connection.execute(sql.select(EVENTS.c.user_id).distinct().where(some, *_up_to(until))).scalars()
                )
        return found

    def holds(self, event_id: str) -> bool:
        """Tell whether an event can be read."""
        with self._engine.connect() as connection:
            return (
                connection.execute(sql.select(EVENTS.c.event_id).where(EVENTS.c.event_id == event_id)).first()
                is not None
            )

    def count(self) -> int:
        """Return the number of stored events."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(sql.func.count()).select_from(EVENTS)).scalar_one()

    def forget(self, connection: sql.Connection, user_id: str, most: int) -> int:
        """Delete so many events of a user at most within a transaction; return how many."""
        some = sql.select(EVENTS.c.event_id).where(EVENTS.c.user_id == user_id).limit(most)
        ids = connection.execute(some).scalars().all()
        repeated = (_REPEATED.c.user_id == user_id) | _REPEATED.c.event_id.in_(ids)
        connection.execute(sql.delete(_REPEATED).where(repeated))
        return connection.execute(sql.delete(EVENTS).where(EVENTS.c.event_id.in_(ids))).rowcount


def _up_to(batch: int | None) -> list[sql.ColumnElement[bool]]:
    return [] if batch is None else [EVENTS.c.batch <= batch]


def _noted(row: Mapping[Any, Any], timed: bool = True) -> dict[str, Any]:
    """Return what is remembered of an event to tell whether another one with its id is the same."""
    content = [float(row[name]) if isinstance(row[name], int) else row[name] for name in _CONTENT]
    content += [row["context"]] if row["context"] else []  # without one the digest is what it always was
    return {"content": digest(canonical_json(content)), columns.TIMESTAMP: row[columns.TIMESTAMP] if timed else None}


def _note(event: Event) -> dict[str, Any]:
    return _noted(event.to_row(), event.timed)


def _contradict(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two events with one id differ in something that both of them say."""
    pairs = [(one[name], other[name]) for name in ("content", columns.TIMESTAMP)]
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)
