"""Impressions: every answer that was given, with all that is needed to say where it came from and to give it again.

Kept for as long as the service is told; a user who is forgotten takes theirs along.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

import sqlalchemy as sql

from recsys.artifacts import canonical_json
from recsys.data.forgetting import Forgotten
from recsys.database.engine import TEXT, Database
from recsys.database.moments import microseconds, moment
from recsys.database.tombstones import Tombstones

PURGE_ROWS = 5_000  # deleted in one transaction, so that events wait for it but shortly
_IMPRESSIONS = sql.Table(
    "impressions",
    sql.MetaData(),
    sql.Column("rec_id", TEXT, primary_key=True),
    sql.Column("time", sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column("user_id", TEXT),
    sql.Column("generation", TEXT, nullable=False),
    sql.Column("adapter", TEXT, nullable=False),
    sql.Column("record", TEXT, nullable=False),  # JSON: lineage, request, history, items, fallback
)
sql.Index("impressions_by_user", _IMPRESSIONS.c.user_id)
sql.Index("impressions_by_time", _IMPRESSIONS.c.time)


class TableVersion(TypedDict):
    """Which vectors were searched: a LanceDB table and its version."""

    table: str
    version: int


class Lineage(TypedDict, total=False):
    """Where an answer came from, beside generation and adapter."""

    adapter_digest: str | None  # over the digests of its files; None: it was deleted meanwhile
    snapshot: str
    flow_run: str | None
    index: TableVersion
    items_version: int  # of the live items


class ShownItem(TypedDict):
    """An item of an answer. The ranking is deterministic, so what was shown was shown with probability 1."""

    item_id: str
    score: float
    propensity: float


@dataclass(frozen=True)
class Impression:
    """One answer.

    Attributes:
        time: with a time zone.
        user_id: None where a history asked.
        lineage: where the answer came from.
        request: as it was sent, defaults filled in.
        history: the item ids that the answer was made from, oldest first.
        items: what was shown, best first.
        fallback: which link of the chain answered, None for the whole system.
    """

    rec_id: str
    time: datetime
    user_id: str | None
    generation: str
    adapter: str
    lineage: Lineage = field(default_factory=Lineage)
    request: dict[str, Any] = field(default_factory=dict)
    history: Sequence[str] = ()
    items: Sequence[ShownItem] = ()
    fallback: str | None = None

    def belongs_to(self, forgotten: Forgotten) -> bool:
        """Tell whether its user was forgotten after it was made."""
        limit = None if self.user_id is None else forgotten.when(self.user_id)
        return limit is not None and microseconds(self.time) <= limit

    def to_row(self) -> dict[str, str | int | None]:
        """Return the impression as a row of the table."""
        record = {name: getattr(self, name) for name in ("lineage", "request", "history", "items", "fallback")}
        return {
            "rec_id": self.rec_id,
            "time": microseconds(self.time),
            "user_id": self.user_id,
            "generation": self.generation,
            "adapter": self.adapter,
            "record": canonical_json(record).decode(),
        }

    @classmethod
    def from_row(cls, row: sql.RowMapping) -> "Impression":
        """Return the impression of a row of the table."""
        named = {name: row[name] for name in ("rec_id", "user_id", "generation", "adapter")}
        return cls(**named, time=moment(row["time"]), **json.loads(row["record"]))


class ImpressionStore:
    """The impressions of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database, tombstones: Tombstones) -> None:
        self._database = database
        self._tombstones = tombstones
        self._engine = database.engine
        database.create([_IMPRESSIONS])

    def add(self, impressions: Sequence[Impression]) -> int:
        """Store impressions in one transaction, each at most once; return how many were new.

        Those of a user who was forgotten since are left out: an answer may wait to be written while its user goes.
        """
        statement = self._database.insert(_IMPRESSIONS).on_conflict_do_nothing(index_elements=["rec_id"])
        with self._engine.begin() as connection:
            forgotten = self._tombstones.hold(connection)
            rows = [impression.to_row() for impression in impressions if not impression.belongs_to(forgotten)]
            if not rows:
                return 0
            rows.sort(key=lambda row: str(row["rec_id"]))
            return len(connection.execute(statement.returning(_IMPRESSIONS.c.rec_id), rows).all())

    def find(self, rec_id: str) -> Impression | None:
        """Return the impression of an answer."""
        with self._engine.connect() as connection:
            found = sql.select(_IMPRESSIONS).where(_IMPRESSIONS.c.rec_id == rec_id)
            row = connection.execute(found).mappings().one_or_none()
        return Impression.from_row(row) if row is not None else None

    def count(self, user_id: str | None = None) -> int:
        """Return the number of stored impressions, or of those of a user."""
        counted = sql.select(sql.func.count()).select_from(_IMPRESSIONS)
        if user_id is not None:
            counted = counted.where(_IMPRESSIONS.c.user_id == user_id)
        with self._engine.connect() as connection:
            return connection.execute(counted).scalar_one()

    def purge(self, before: datetime) -> int:
        """Delete impressions older than a time, a few thousand a transaction; return how many went."""
        old = sql.select(_IMPRESSIONS.c.rec_id).where(_IMPRESSIONS.c.time < microseconds(before)).limit(PURGE_ROWS)
        purged = 0
        while True:
            with self._engine.begin() as connection:
                went = connection.execute(sql.delete(_IMPRESSIONS).where(_IMPRESSIONS.c.rec_id.in_(old))).rowcount
            purged += went
            if went < PURGE_ROWS:
                return purged

    def forget(self, connection: sql.Connection, user_id: str) -> int:
        """Delete all impressions of a user within a transaction; return how many there were."""
        return connection.execute(sql.delete(_IMPRESSIONS).where(_IMPRESSIONS.c.user_id == user_id)).rowcount
