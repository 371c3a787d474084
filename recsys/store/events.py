"""Live events in a SQL database: what users did since the snapshot that is served was made.

SQLite needs no server and is enough for one machine; any number of machines share a PostgreSQL. ``add`` returns when
the events are on disk: SQLite writes ahead (WAL) and syncs at every commit, so neither a crash of the process nor a
loss of power takes back what was accepted. The price, one sync a call, is why ``add`` takes many events at once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite

from recsys import columns
from recsys.artifacts import canonical_json, digest

HISTORY_LIMIT = 1_000  # newest events of one user that an answer looks at
BUSY_TIMEOUT_MILLISECONDS = 10_000  # how long a SQLite writer waits for its turn
SCHEMA_LOCK = 0x72656373  # any constant: names the PostgreSQL lock under which the tables are made

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # a day or more before what Python can no longer move between time zones
# Bytes decide the order of ids in SQLite and in Python; PostgreSQL would ask the language of its server.
_TEXT = sql.String().with_variant(sql.String(collation="C"), "postgresql")
_METADATA = sql.MetaData()
_EVENTS = sql.Table(
    "events",
    _METADATA,
    sql.Column(columns.EVENT_ID, _TEXT, primary_key=True),
    sql.Column(columns.USER_ID, _TEXT, nullable=False),
    sql.Column(columns.ITEM_ID, _TEXT, nullable=False),
    sql.Column(columns.TIMESTAMP, sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column(columns.EVENT_TYPE, _TEXT, nullable=False),
    sql.Column(columns.VALUE, sql.Double),
    sql.Column(columns.POSITION, sql.BigInteger),
)
_BY_USER = sql.Index("events_by_user", *(_EVENTS.c[name] for name in (columns.USER_ID, *columns.EVENT_ORDER)))


@dataclass(frozen=True)
class Event:
    """One user doing one thing to one item at one time.

    Attributes:
        timestamp: with a time zone; kept as UTC with microseconds.
        event_id: what makes a repeated event a duplicate; left empty, it is the hash of all the rest.

    Raises:
        ValueError: an id is empty, the value is not finite, or the timestamp has no time zone or is not of 1970–9998.
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
            raise ValueError(f"An event needs a user_id and an item_id; got {self.user_id!r} and {self.item_id!r}.")
        if self.timestamp.tzinfo is None:
            raise ValueError(f"The timestamp {self.timestamp} has no time zone; append Z or an offset.")
        if not _EPOCH <= self.timestamp < _LATEST:
            raise ValueError(f"The timestamp {self.timestamp} lies outside the years 1970 to 9998.")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"The value {self.value} is not a finite number.")
        object.__setattr__(self, "timestamp", self.timestamp.astimezone(UTC))
        if not self.event_id:
            content = [self.user_id, self.item_id, self._microseconds(), self.event_type, self.value, self.position]
            object.__setattr__(self, "event_id", digest(canonical_json(content))[:32])

    def to_row(self) -> dict[str, Any]:
        """Return the event as a row of the table."""
        return {**vars(self), columns.TIMESTAMP: self._microseconds()}

    @classmethod
    def from_row(cls, row: sql.RowMapping) -> "Event":
        """Return the event of a row of the table."""
        return cls(**{**row, columns.TIMESTAMP: _EPOCH + timedelta(microseconds=row[columns.TIMESTAMP])})

    def _microseconds(self) -> int:
        return (self.timestamp - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class AddResult:
    """How many events were new, and how many were known already."""

    accepted: int
    duplicates: int


class EventStore:
    """The events table of one database; one object serves all threads of a process.

    Args:
        url: a SQLAlchemy URL of SQLite or, with psycopg installed, PostgreSQL (``postgresql+psycopg://…``).

    Raises:
        ValueError: the URL names another kind of database.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, url: str) -> None:
        location = sql.make_url(url)
        match location.get_backend_name():
            case "sqlite":
                self._insert: Any = sqlite.insert
                self._engine = sql.create_engine(location)
                sql.event.listen(self._engine, "connect", _configure_sqlite)
            case "postgresql":
                self._insert = postgresql.insert
                # pre_ping: a pooled connection that the server has closed is replaced instead of failing a request
                self._engine = sql.create_engine(location, pool_pre_ping=True)
            case other:
                raise ValueError(f"Events are kept in SQLite or PostgreSQL, not in {other} ({location!r}).")
        self._create_schema()

    @classmethod
    def at(cls, path: Path) -> "EventStore":
        """Open the SQLite database at a path; folder and file are made where missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{path}")

    def add(self, events: Iterable[Event]) -> AddResult:
        """Store events in one transaction, each at most once; all of them are on disk on return, or none is."""
        rows = [event.to_row() for event in events]
        if not rows:
            return AddResult(0, 0)
        # Writers that insert the same ids in one order wait for each other; in different orders they would deadlock.
        rows.sort(key=lambda row: row[columns.EVENT_ID])
        statement = self._insert(_EVENTS).on_conflict_do_nothing(index_elements=[_EVENTS.c.event_id])
        with self._engine.begin() as connection:
            accepted = len(connection.execute(statement.returning(_EVENTS.c.event_id), rows).all())
        return AddResult(accepted, len(rows) - accepted)

    def history(self, user_id: str, limit: int = HISTORY_LIMIT) -> list[Event]:
        """Return the newest events of a user, oldest first: by timestamp, position (none before any) and event_id."""
        newest = (
            sql.select(_EVENTS)
            .where(_EVENTS.c.user_id == user_id)
            .order_by(_EVENTS.c.timestamp.desc(), _EVENTS.c.position.desc().nulls_last(), _EVENTS.c.event_id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(newest).mappings().all()
        return [Event.from_row(row) for row in reversed(rows)]

    def count(self) -> int:
        """Return the number of stored events."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(sql.func.count()).select_from(_EVENTS)).scalar_one()

    def forget(self, user_id: str) -> int:
        """Delete all events of a user; return how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(sql.delete(_EVENTS).where(_EVENTS.c.user_id == user_id)).rowcount

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _create_schema(self) -> None:
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # IF NOT EXISTS is no protection there: two workers that start together would both create the table
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            connection.execute(sql.schema.CreateTable(_EVENTS, if_not_exists=True))
            connection.execute(sql.schema.CreateIndex(_BY_USER, if_not_exists=True))


def _configure_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode=WAL")  # readers and the one writer do not wait for each other
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
