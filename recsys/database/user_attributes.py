"""What was said of users since the snapshot: their attributes, as they were last put, in a SQL database.

A worker reads a user's own row when it answers them, so a change counts at the next answer of any worker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from recsys.artifacts import canonical_json
from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import microseconds
from recsys.errors import RequestError

CHANGE = "user_attributes"
MOST_USERS = 1_000_000
MOST_BYTES = 4 * 2**10  # of one user's attributes, as JSON in UTF-8
_TABLE = sql.Table(
    "user_attributes",
    METADATA,
    sql.Column("user_id", TEXT, primary_key=True),
    sql.Column("record", TEXT, nullable=False),  # JSON
    sql.Column("time", sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column("sender", TEXT),  # the id of the key that put it; null: there were no keys
)
_SIZE = sql.Table(
    "user_attributes_size",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("users", sql.BigInteger, nullable=False),
)


class AttributesError(RequestError):
    """There is no room for a user's attributes. The message says how much there is, and what to do."""


@dataclass(frozen=True)
class LiveAttributes:
    """A user's attributes as they were last put; ``time`` in microseconds since 1970."""

    values: dict[str, Any]
    time: int


class AttributeStore:
    """The users' attributes in a database; one object serves all threads of a process.

    Args:
        database: where they are.
        most: users there may be.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database, most: int = MOST_USERS) -> None:
        self._database = database
        self._engine = database.engine
        self._most = most
        if database.read_only:
            return
        with self._engine.begin() as connection:
            database.count_from_zero(connection, CHANGE)
            connection.execute(database.insert(_SIZE).values(id=1, users=0).on_conflict_do_nothing())

    def put(self, user_id: str, values: Mapping[str, Any], sender: str | None = None) -> None:
        """Store a user's attributes in the place of those that were put before; they are on disk on return.

        Raises:
            AttributesError: they are too large, or as many users have some as may have; nothing is stored.
        """
        record = canonical_json(dict(values))
        if len(record) > MOST_BYTES:
            raise AttributesError(
                f"A user's attributes have at most {MOST_BYTES:,} bytes as JSON; these have {len(record):,}. "
                "Nothing was stored."
            )
        row = {"user_id": user_id, "record": record.decode(), "time": microseconds(datetime.now(UTC)), "sender": sender}
        with self._engine.begin() as connection:
            self._database.hold(connection, CHANGE)  # of two new users at the bound one is too many
            known = sql.select(_TABLE.c.user_id).where(_TABLE.c.user_id == user_id)
            if connection.execute(known).first() is None:
                if self._count(connection) >= self._most:
                    raise AttributesError(
                        f"Attributes of {self._most:,} users may be put. Nothing was stored. "
                        "Ingest them with the users' table, and forget who is gone."
                    )
                self._grow(connection, 1)
            insert = self._database.insert(_TABLE).values(row)
            connection.execute(insert.on_conflict_do_update(index_elements=["user_id"], set_=row))

    def find(self, user_id: str) -> LiveAttributes | None:
        """Return what was last put of a user."""
        with self._engine.connect() as connection:
            found = sql.select(_TABLE.c.record, _TABLE.c.time).where(_TABLE.c.user_id == user_id)
            row = connection.execute(found).one_or_none()
        return None if row is None else LiveAttributes(json.loads(row.record), row.time)

    def all(self) -> dict[str, LiveAttributes]:
        """Return what was last put of each user, by id."""
        found = sql.select(_TABLE.c.user_id, _TABLE.c.record, _TABLE.c.time).order_by(_TABLE.c.user_id)
        with self._engine.connect() as connection:
            rows = connection.execute(found)
            return {row.user_id: LiveAttributes(json.loads(row.record), row.time) for row in rows}

    def count(self) -> int:
        """Return of how many users something was put."""
        with self._engine.connect() as connection:
            return self._count(connection)

    def forget(self, connection: sql.Connection, user_id: str, most: int) -> int:
        """Delete a user's attributes; return how many rows that were."""
        self._database.hold(connection, CHANGE)
        went = connection.execute(sql.delete(_TABLE).where(_TABLE.c.user_id == user_id)).rowcount
        self._grow(connection, -went)
        return went

    def _count(self, connection: sql.Connection) -> int:
        return connection.execute(sql.select(_SIZE.c.users)).scalar_one()

    def _grow(self, connection: sql.Connection, users: int) -> None:
        connection.execute(sql.update(_SIZE).values(users=_SIZE.c.users + users))
