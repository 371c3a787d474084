"""Live items: what was put or deleted since the snapshot, durable, with a counter that every worker follows.

A text's vector is computed once for each adapter and kept beside the item. Every worker holds all live items in memory,
so there is room for so many and no more, of one sender and of all together.
"""

import json
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sql
from numpy.typing import NDArray

from recsys.artifacts import canonical_json
from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import microseconds
from recsys.errors import RequestError

CHANGE = "items"
MOST_DELETED = 10_000  # deletions that are remembered, beside those of items that a catalogue holds
BYTES_EACH = 4 * 2**10  # for which there is room, on average
IDS_AT_ONCE = 1_000  # in one statement
_ITEMS = sql.Table(
    "live_items",
    METADATA,
    sql.Column("item_id", TEXT, primary_key=True),
    sql.Column("version", sql.BigInteger, nullable=False),  # of the change that made it what it is
    sql.Column("record", TEXT),  # JSON columns; null: deleted
    sql.Column("bytes", sql.BigInteger),  # of the record in UTF-8; null: deleted
    sql.Column("sender", TEXT),  # the id of the key that put it; null: there were no keys
    sql.Column("time", sql.BigInteger),  # of the change, microseconds since 1970, UTC
)
sql.Index("live_items_by_version", _ITEMS.c.version)
sql.Index("live_items_by_sender", _ITEMS.c.sender, _ITEMS.c.bytes)  # holds all that room is counted by
_VECTORS = sql.Table(
    "live_item_vectors",
    METADATA,
    sql.Column("item_id", TEXT, primary_key=True),
    sql.Column("adapter", TEXT, primary_key=True),
    sql.Column("text_digest", TEXT, nullable=False),
    sql.Column("vector", sql.LargeBinary, nullable=False),  # float32, little-endian
)


@dataclass(frozen=True)
class LiveItem:
    """An item as it was last put, ``columns`` None where it was deleted; ``time`` in microseconds since 1970."""

    item_id: str
    version: int
    columns: dict[str, Any] | None
    time: int = 0


class RoomError(RequestError):
    """There is no room for an item. The message says how much there is, and what to do."""


@dataclass(frozen=True)
class Taken:
    """Live items that were put, and the bytes of their columns."""

    items: int = 0
    bytes: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.items + other.items, self.bytes + other.bytes)


@dataclass(frozen=True)
class Room:
    """How many live items there may be.

    Attributes:
        items: of all senders together.
        bytes: of their columns, as JSON in UTF-8.
        share: of both, what one sender may take.
    """

    items: int = 10_000  # with so many new texts a worker takes seconds to follow one change
    bytes: int = 10_000 * BYTES_EACH
    share: float = 0.5

    @classmethod
    def of(cls, items: int) -> "Room":
        """Return room for so many items of ``BYTES_EACH``."""
        return cls(items, items * BYTES_EACH)

    def check(self, before: Mapping[str | None, Taken], after: Mapping[str | None, Taken], sender: str | None) -> None:
        """Check that there is room for what a sender puts; what takes no more than before always has it.

        Args:
            before: what each sender has taken.
            after: what each would.
            sender: who puts.

        Raises:
            RoomError: there is none.
        """
        self._check("a key may have", self.share, before.get(sender, Taken()), after.get(sender, Taken()))
        self._check("there may be", 1.0, sum(before.values(), Taken()), sum(after.values(), Taken()))

    def _check(self, whose: str, share: float, before: Taken, after: Taken) -> None:
        items, size = int(share * self.items), share * self.bytes
        if (after.items > items and after.items > before.items) or (after.bytes > size and after.bytes > before.bytes):
            raise RoomError(
                f"Of live items {whose} {items:,}, of {size / 2**20:.3g} MiB together. Nothing was stored. "
                "Delete some, or release what the catalogue holds: that need not stay live."
            )


class ItemStore:
    """The live items of a database; one object serves all threads of a process.

    Args:
        database: where they are.
        room: how many there may be.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; every method raises it likewise.
    """

    def __init__(self, database: Database, room: Room = Room()) -> None:
        self._database = database
        self._engine = database.engine
        self._room = room
        self._measure()

    def _measure(self) -> None:
        """Count the bytes of what was put before they were counted, and give a time to what was put without one."""
        uncounted = _ITEMS.c.record.is_not(None) & _ITEMS.c.bytes.is_(None)
        length = sql.func.length(sql.cast(_ITEMS.c.record, sql.LargeBinary))
        if not self._database.is_sqlite:
            length = sql.func.octet_length(_ITEMS.c.record)
        with self._engine.begin() as connection:
            if connection.execute(sql.select(_ITEMS.c.item_id).where(uncounted).limit(1)).first() is not None:
                connection.execute(sql.update(_ITEMS).where(uncounted).values(bytes=length))
            if connection.execute(sql.select(_ITEMS.c.item_id).where(_ITEMS.c.time.is_(None)).limit(1)).first():
                untimed = sql.update(_ITEMS).where(_ITEMS.c.time.is_(None))
                connection.execute(untimed.values(time=microseconds(datetime.now(UTC))))

    def version(self) -> int:
        """Return how many changes there were."""
        return self._database.versions().get(CHANGE, 0)

    def put(self, item_id: str, columns: Mapping[str, Any] | None, sender: str | None = None) -> int:
        """Store an item whole, or with None delete it; return the version of the change, which is then on disk.

        Args:
            item_id: in the place of what has this id.
            columns: as JSON values.
            sender: whose room it takes.

        Raises:
            RoomError: as much is live as may be; nothing is stored. Deleting always succeeds.
        """
        with self._engine.begin() as connection:
            self._lock(connection)
            return self._store(connection, item_id, columns, sender, self._taken(connection))[0]

    def put_all(
        self, items: Sequence[tuple[str, Mapping[str, Any]]], sender: str | None = None
    ) -> list[int | RoomError]:
        """Store different items in one transaction; return for each the version of its change, or why it has no room.

        Arguments as those of ``put``.
        """
        found: list[int | RoomError] = []
        with self._engine.begin() as connection:
            self._lock(connection)
            taken = self._taken(connection)
            for item_id, columns in items:
                try:
                    version, taken = self._store(connection, item_id, columns, sender, taken)
                    found.append(version)
                except RoomError as error:
                    found.append(error)
        return found

    def change(self, item_id: str, changed: Callable[[LiveItem | None], Mapping[str, Any]], sender: str | None) -> int:
        """Store what a function makes of an item, between which nobody else changes it; return the change's version.

        Args:
            item_id: of the item.
            changed: is given what was last put, and may raise: then nothing is stored.
            sender: whose room it takes.

        Raises:
            RoomError: as ``put``.
        """
        with self._engine.begin() as connection:
            self._lock(connection)
            columns = changed(self._find(connection, item_id))
            return self._store(connection, item_id, columns, sender, self._taken(connection))[0]

    def release(self, item_id: str, check: Callable[[LiveItem], None] = lambda _: None) -> int | None:
        """Forget what was put or deleted under an id, so that the catalogue's item counts again.

        Args:
            item_id: of the item.
            check: is given what was last put, and may raise: then nothing changes.

        Returns:
            The version of the change; None: nothing is live under the id.
        """
        with self._engine.begin() as connection:
            self._lock(connection)
            live = self._find(connection, item_id)
            if live is None:
                return None
            check(live)
            for table in (_VECTORS, _ITEMS):
                connection.execute(sql.delete(table).where(table.c.item_id == item_id))
            return self._database.bump(connection, CHANGE)

    def _lock(self, connection: sql.Connection) -> None:
        """Let nobody else take room or change an item until the transaction ends; call it first of all."""
        self._database.count_from_zero(connection, CHANGE)
        self._database.hold(connection, CHANGE)

    def _store(
        self,
        connection: sql.Connection,
        item_id: str,
        columns: Mapping[str, Any] | None,
        sender: str | None,
        taken: dict[str | None, Taken],
    ) -> tuple[int, dict[str | None, Taken]]:
        """Store an item within a transaction; return the version of the change, and the room that is taken then."""
        record = None if columns is None else canonical_json(dict(columns))
        row: dict[str, Any] = {"item_id": item_id, "sender": sender, "record": None, "bytes": None}
        if record is not None:
            row |= {"record": record.decode(), "bytes": len(record)}
            taken = self._with_room(connection, item_id, sender, len(record), taken)
        row["version"] = version = self._database.bump(connection, CHANGE)
        row["time"] = microseconds(datetime.now(UTC))
        insert = self._database.insert(_ITEMS).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=["item_id"], set_=row))
        if columns is None:
            connection.execute(sql.delete(_VECTORS).where(_VECTORS.c.item_id == item_id))
        return version, taken

    def _with_room(
        self,
        connection: sql.Connection,
        item_id: str,
        sender: str | None,
        size: int,
        before: dict[str | None, Taken],
    ) -> dict[str | None, Taken]:
        """Return the room that is taken once an item is stored, for which there must be some."""
        replaced = sql.select(_ITEMS.c.sender, _ITEMS.c.bytes).where(_ITEMS.c.item_id == item_id)
        old = connection.execute(replaced).one_or_none()
        after = dict(before)
        if old is not None and old.bytes is not None:
            after[old.sender] += Taken(-1, -old.bytes)
        after[sender] = after.get(sender, Taken()) + Taken(1, size)
        self._room.check(before, after, sender)
        return after

    def taken(self) -> dict[str | None, Taken]:
        """Return the room that each sender takes."""
        with self._engine.connect() as connection:
            return self._taken(connection)

    def _taken(self, connection: sql.Connection) -> dict[str | None, Taken]:
        sender, size = _ITEMS.c.sender, _ITEMS.c.bytes
        each = sql.select(sender, sql.func.count(size), sql.func.sum(size)).where(size.is_not(None)).group_by(sender)
        return {whose: Taken(items, int(total)) for whose, items, total in connection.execute(each)}

    def tidy(self, catalogue: Container[str]) -> None:
        """Forget old deletions of items that the catalogue does not hold, and vectors of items that are gone.

        The newest ``MOST_DELETED`` deletions stay: a file that still holds what was deleted may be ingested next.
        """
        gone = _ITEMS.c.record.is_(None)
        with self._engine.connect() as connection:
            deleted = sql.select(_ITEMS.c.item_id).where(gone).order_by(_ITEMS.c.version.desc())
            remembered = connection.execute(deleted.offset(MOST_DELETED)).scalars()
            old = [{"old": item_id} for item_id in remembered if item_id not in catalogue]
        there = sql.select(_ITEMS.c.item_id).where(~gone)
        with self._engine.begin() as connection:
            connection.execute(sql.delete(_VECTORS).where(_VECTORS.c.item_id.not_in(there)))
            if old:
                connection.execute(sql.delete(_ITEMS).where((_ITEMS.c.item_id == sql.bindparam("old")) & gone), old)

    def find(self, item_id: str) -> LiveItem | None:
        """Return what was last put under an id."""
        with self._engine.connect() as connection:
            return self._find(connection, item_id)

    def _find(self, connection: sql.Connection, item_id: str) -> LiveItem | None:
        found = sql.select(_ITEMS).where(_ITEMS.c.item_id == item_id)
        row = connection.execute(found).mappings().one_or_none()
        return None if row is None else _item(row)

    def page(self, after: str, most: int) -> list[LiveItem]:
        """Return so many items at most behind an id, in the order of their ids, deleted ones among them."""
        behind = sql.select(_ITEMS).where(_ITEMS.c.item_id > after).order_by(_ITEMS.c.item_id).limit(most)
        with self._engine.connect() as connection:
            return [_item(row) for row in connection.execute(behind).mappings()]

    def changed(self, since: int = 0) -> list[LiveItem]:
        """Return the items that changed after a version, in the order of their changes."""
        newer = sql.select(_ITEMS).where(_ITEMS.c.version > since).order_by(_ITEMS.c.version)
        with self._engine.connect() as connection:
            return [_item(row) for row in connection.execute(newer).mappings()]

    def count(self) -> int:
        """Return the number of all items that changed, deleted ones among them as long as they are remembered."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(sql.func.count()).select_from(_ITEMS)).scalar_one()

    def ids(self) -> set[str]:
        """Return the ids of those items."""
        with self._engine.connect() as connection:
            return set(connection.execute(sql.select(_ITEMS.c.item_id)).scalars())

    def known(self, item_ids: Collection[str]) -> set[str]:
        """Return those of some ids under which something was put or deleted."""
        found: set[str] = set()
        ids = sorted(item_ids)
        with self._engine.connect() as connection:
            for start in range(0, len(ids), IDS_AT_ONCE):
                some = sql.select(_ITEMS.c.item_id).where(_ITEMS.c.item_id.in_(ids[start : start + IDS_AT_ONCE]))
                found.update(connection.execute(some).scalars())
        return found

    def vectors(self, adapter: str, item_ids: Sequence[str]) -> dict[str, tuple[str, NDArray[np.float32]]]:
        """Return digest of the text and vector by item id, of those items that an adapter's encoder has encoded."""
        found = sql.select(_VECTORS).where(_VECTORS.c.adapter == adapter)
        vectors = {}
        with self._engine.connect() as connection:
            for start in range(0, len(item_ids), IDS_AT_ONCE):
                own = found.where(_VECTORS.c.item_id.in_(item_ids[start : start + IDS_AT_ONCE]))
                for row in connection.execute(own).mappings():
                    vectors[row["item_id"]] = (row["text_digest"], np.frombuffer(row["vector"], dtype="<f4"))
        return vectors

    def add_vectors(
        self, adapter: str, item_ids: Sequence[str], digests: Sequence[str], vectors: NDArray[np.float32]
    ) -> None:
        """Store what an adapter's encoder made of some items' texts, in the place of what it made before."""
        rows = [
            {"item_id": item_id, "adapter": adapter, "text_digest": digest, "vector": vector.astype("<f4").tobytes()}
            for item_id, digest, vector in zip(item_ids, digests, vectors, strict=True)
        ]
        insert = self._database.insert(_VECTORS)
        new = {name: insert.excluded[name] for name in ("text_digest", "vector")}
        with self._engine.begin() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["item_id", "adapter"], set_=new), rows)


def _item(row: sql.RowMapping) -> LiveItem:
    columns = None if row["record"] is None else json.loads(row["record"])
    return LiveItem(row["item_id"], row["version"], columns, row["time"] or 0)
