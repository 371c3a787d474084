"""Impressions: every answer that was given, with all that is needed to say where it came from and to give it again.

What a list was asked to be like is stored once, whoever it was for: the lists of a batch, and all others that were
asked alike, name it by its hash. Nothing grows without end: neither a record, nor what is asked, nor the whole.

Kept for as long as the service is told; a user who is forgotten takes theirs along.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NotRequired, TypedDict

import sqlalchemy as sql

from recsys.artifacts import canonical_json, digest
from recsys.data.forgetting import Forgotten
from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import microseconds, moment
from recsys.database.tombstones import Tombstones

PURGE_ROWS = 5_000  # deleted in one transaction, so that events wait for it but shortly
MAX_OPTIONS_BYTES = 64 * 2**10  # of what a list was asked to be like; of more the hash alone is kept
MAX_KNOWN_BYTES = 32 * 2**10  # of what else is known of a record's events; more of it is left out
MAX_IDS_BYTES = 32 * 2**10  # of a record's history, and of its items; what does not fit is counted and left out
IMPRESSIONS = sql.Table(
    "impressions",
    METADATA,
    sql.Column("rec_id", TEXT, primary_key=True),
    sql.Column("time", sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column("user_id", TEXT),
    sql.Column("generation", TEXT, nullable=False),
    sql.Column("adapter", TEXT, nullable=False),
    sql.Column("record", TEXT, nullable=False),  # JSON, see Impression.to_row
    sql.Column("options", TEXT),  # hash; null: the record of an older version holds them
    sql.Column("shown", sql.Boolean),  # as in the record; null: of an older version
)
sql.Index("impressions_by_user", IMPRESSIONS.c.user_id)
sql.Index("impressions_by_time", IMPRESSIONS.c.time)
# holds all that lists are counted by
sql.Index("impressions_by_origin", *(IMPRESSIONS.c[name] for name in ("time", "generation", "adapter", "shown")))
sql.Index("impressions_by_options", IMPRESSIONS.c.options)
_OPTIONS = sql.Table(
    "impression_options",
    METADATA,
    sql.Column("hash", TEXT, primary_key=True),
    sql.Column("content", TEXT),  # JSON; null: too large
)
_SIZE = sql.Table(
    "impression_size",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("characters", sql.BigInteger, nullable=False),  # of all records and contents
)


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


class LeftOut(TypedDict):
    """How many ids a record would have held beyond its bounds, and of how many events it knows no more than these."""

    history: NotRequired[int]
    items: NotRequired[int]
    known: NotRequired[int]


@dataclass(frozen=True)
class Options:
    """What lists were asked to be like, whoever they were for.

    Attributes:
        content: options by name, defaults filled in; None: they were too large to be kept.
        known_hash: theirs, where the content is not there.
    """

    content: Mapping[str, Any] | None = field(default_factory=dict)
    known_hash: str = field(default="", compare=False)

    @cached_property
    def text(self) -> str:
        """The content's one JSON spelling."""
        return canonical_json(self.content).decode()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content."""
        return self.known_hash or digest(self.text.encode())

    @property
    def kept(self) -> str | None:
        """What is stored of the content."""
        return self.text if len(self.text.encode()) <= MAX_OPTIONS_BYTES else None


@dataclass(frozen=True)
class Impression:
    """One answer.

    Attributes:
        time: with a time zone.
        user_id: None where a history asked.
        key: id of the key that asked; None: there were no keys, or it was not written down yet.
        shown: whether the list was meant to be seen, as it was asked for; a preview was not.
        lineage: where the answer came from.
        options: what was asked for.
        history: the item ids that the answer was made from, oldest first.
        known: what else of these events it was made from, one an event, by name: times, types, values.
        items: the list, best first.
        fallback: which link of the chain answered, None for the whole system.
        attributes: what else of the user it was made from, by name.
        left_out: how many of the oldest of the history, and of the last items, were too many to be kept.
    """

    rec_id: str
    time: datetime
    user_id: str | None
    generation: str
    adapter: str
    key: str | None = None
    shown: bool = True
    lineage: Lineage = field(default_factory=Lineage)
    options: Options = field(default_factory=Options)
    history: Sequence[str] = ()
    items: Sequence[ShownItem] = ()
    fallback: str | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> dict[str, Any] | None:
        """What was asked, as it was sent, defaults filled in; None where that is not known whole."""
        if self.options.content is None or (self.user_id is None and "history" in self.left_out):
            return None
        history = list(self.history) if self.user_id is None else None
        return {**self.options.content, "user_id": self.user_id, "history": history}

    def belongs_to(self, forgotten: Forgotten) -> bool:
        """Tell whether its user was forgotten after it was made."""
        limit = None if self.user_id is None else forgotten.when(self.user_id)
        return limit is not None and microseconds(self.time) <= limit

    def to_row(self) -> dict[str, str | int | bool | None]:
        """Return the impression as a row of the table, within its bounds."""
        history = list(self.history[len(self.history) - _fitting(list(reversed(self.history))) :])
        ids = [item["item_id"] for item in self.items]
        items = self.items[: _fitting(ids)]
        record: dict[str, Any] = {
            "key": self.key,
            "shown": self.shown,
            "lineage": self.lineage,
            "history": history,
            "items": {name: [item[name] for item in items] for name in ShownItem.__annotations__},  # type: ignore[literal-required]
            "fallback": self.fallback,
        }
        if self.attributes:
            record["attributes"] = dict(self.attributes)
        if all(item["propensity"] == 1 for item in items):
            del record["items"]["propensity"]
        found = {"history": len(self.history) - len(history), "items": len(ids) - len(items)}
        known = {name: list(values)[found["history"] :] for name, values in self.known.items()}
        if len(canonical_json(known)) > MAX_KNOWN_BYTES:
            found["known"] = len(history)
        elif known:
            record["known"] = known
        if any(found.values()):
            record["left_out"] = {name: count for name, count in found.items() if count}
        return {
            "rec_id": self.rec_id,
            "time": microseconds(self.time),
            "user_id": self.user_id,
            "generation": self.generation,
            "adapter": self.adapter,
            "record": canonical_json(record).decode(),
            "options": self.options.hash,
            "shown": self.shown,
        }

    @classmethod
    def from_row(cls, row: sql.RowMapping) -> "Impression":
        """Return the impression of a row of the table, joined with ``content`` of its options."""
        record = json.loads(row["record"])
        if "request" in record:  # of an older version
            asked = record.pop("request")
            options = Options({name: value for name, value in asked.items() if name not in ("user_id", "history")})
        else:
            content = row["content"]
            options = Options(None if content is None else json.loads(content), row["options"])
            columns = record.pop("items")
            propensities = columns.get("propensity") or [1.0] * len(columns["item_id"])
            record["items"] = [
                ShownItem(item_id=item_id, score=score, propensity=propensity)
                for item_id, score, propensity in zip(columns["item_id"], columns["score"], propensities, strict=True)
            ]
        named = {name: row[name] for name in ("rec_id", "user_id", "generation", "adapter")}
        return cls(**named, time=moment(row["time"]), options=options, **record)


def _total(texts: sql.Column[str]) -> sql.Function[int]:
    """Return the expression for the characters of a column's texts."""
    return sql.func.coalesce(sql.func.sum(sql.func.length(texts)), 0)


def _fitting(ids: Sequence[str]) -> int:
    """Return how many of the first ids fit into a record."""
    room = MAX_IDS_BYTES
    for place, item_id in enumerate(ids):
        room -= len(item_id.encode()) + len('"",')
        if room < 0:
            return place
    return len(ids)


class ImpressionStore:
    """The impressions of a database; one object serves all threads of a process.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database, tombstones: Tombstones) -> None:
        self._database = database
        self._tombstones = tombstones
        self._engine = database.engine
        if database.read_only:
            return
        with self._engine.begin() as connection:
            self._tombstones.hold(connection)
            if connection.execute(sql.select(_SIZE)).first() is None:
                characters = connection.execute(sql.select(_total(IMPRESSIONS.c.record))).scalar_one()
                connection.execute(database.insert(_SIZE).values(id=1, characters=characters))

    def add(self, impressions: Sequence[Impression]) -> int:
        """Store impressions in one transaction, each at most once; return how many were new.

        Those of a user who was forgotten since are left out: an answer may wait to be written while its user goes.
        """
        statement = self._database.insert(IMPRESSIONS).on_conflict_do_nothing(index_elements=["rec_id"])
        with self._engine.begin() as connection:
            forgotten = self._tombstones.hold(connection)
            remaining = [impression for impression in impressions if not impression.belongs_to(forgotten)]
            if not remaining:
                return 0
            grown = self._add_options(connection, remaining)
            rows = sorted((one.to_row() for one in remaining), key=lambda row: str(row["rec_id"]))
            new = set(connection.execute(statement.returning(IMPRESSIONS.c.rec_id), rows).scalars())
            grown += sum(len(str(row["record"])) for row in rows if row["rec_id"] in new)
            self._grow(connection, grown)
            return len(new)

    def size(self) -> int:
        """Return the characters of all records and options."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(_SIZE.c.characters)).scalar_one()

    def find(self, rec_id: str) -> Impression | None:
        """Return the impression of an answer."""
        with self._engine.connect() as connection:
            joined = IMPRESSIONS.outerjoin(_OPTIONS, IMPRESSIONS.c.options == _OPTIONS.c.hash)
            found = sql.select(IMPRESSIONS, _OPTIONS.c.content).select_from(joined)
            row = connection.execute(found.where(IMPRESSIONS.c.rec_id == rec_id)).mappings().one_or_none()
        return Impression.from_row(row) if row is not None else None

    def count(self, user_id: str | None = None) -> int:
        """Return the number of stored impressions, or of those of a user."""
        counted = sql.select(sql.func.count()).select_from(IMPRESSIONS)
        if user_id is not None:
            counted = counted.where(IMPRESSIONS.c.user_id == user_id)
        with self._engine.connect() as connection:
            return connection.execute(counted).scalar_one()

    def purge(self, before: datetime) -> int:
        """Delete impressions older than a time, a few thousand a transaction; return how many went."""
        purged = 0
        while True:
            with self._engine.begin() as connection:
                self._tombstones.hold(connection)
                went = self._delete(connection, IMPRESSIONS.c.time < microseconds(before), PURGE_ROWS)
            purged += went
            if went < PURGE_ROWS:
                return purged

    def shrink(self, characters: int) -> int:
        """Delete the oldest impressions until no more than so many characters are left; return how many went."""
        shrunk = 0
        while self.size() > characters:
            oldest = sql.select(IMPRESSIONS.c.time).order_by(IMPRESSIONS.c.time).limit(1).offset(PURGE_ROWS - 1)
            newest = sql.select(sql.func.max(IMPRESSIONS.c.time))
            with self._engine.connect() as connection:
                until = connection.execute(oldest).scalar() or connection.execute(newest).scalar()
            if until is None:
                break
            shrunk += self.purge(moment(until + 1))
        return shrunk

    def forget(self, connection: sql.Connection, user_id: str, most: int) -> int:
        """Delete so many impressions of a user at most, and what only they asked for; return how many."""
        return self._delete(connection, IMPRESSIONS.c.user_id == user_id, most)

    def _add_options(self, connection: sql.Connection, impressions: Sequence[Impression]) -> int:
        """Store what was asked for, each once; return by how many characters that has grown."""
        asked = {one.options.hash: one.options for one in impressions}
        rows = [{"hash": name, "content": options.kept} for name, options in sorted(asked.items())]
        insert = self._database.insert(_OPTIONS).on_conflict_do_nothing(index_elements=["hash"])
        new = connection.execute(insert.returning(_OPTIONS.c.hash), rows).scalars()
        return sum(len(asked[name].kept or "") for name in new)

    def _delete(self, connection: sql.Connection, which: sql.ColumnElement[bool], most: int) -> int:
        """Delete some impressions, and what nobody else has asked for, while nobody adds any; return how many."""
        some = sql.select(IMPRESSIONS.c.rec_id).where(which).limit(most)
        gone = sql.delete(IMPRESSIONS).where(IMPRESSIONS.c.rec_id.in_(some))
        length = sql.func.length(IMPRESSIONS.c.record).label("length")
        rows = connection.execute(gone.returning(length, IMPRESSIONS.c.options)).all()
        used = sql.exists().where(IMPRESSIONS.c.options == _OPTIONS.c.hash)
        asked = {row.options for row in rows if row.options is not None}
        unused = sql.delete(_OPTIONS).where(_OPTIONS.c.hash.in_(asked), ~used)
        freed = connection.execute(unused.returning(sql.func.coalesce(sql.func.length(_OPTIONS.c.content), 0)))
        self._grow(connection, -sum(row.length for row in rows) - sum(freed.scalars()))
        return len(rows)

    def _grow(self, connection: sql.Connection, characters: int) -> None:
        if characters:
            connection.execute(sql.update(_SIZE).values(characters=_SIZE.c.characters + characters))
